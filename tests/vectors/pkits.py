"""What NIST's PKITS (Public Key Interoperability Test Suite, 2011 edition) expects where CRLs decide.

Its certificates and CRLs come with `cryptography_vectors`. A path validator says valid or invalid; a responder says:
`good` for what is valid, `revoked` for what is listed, `tryLater` where it has no usable CRL, and never `good` for the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fuzz.seeds import VECTORS
from vouchd.errors import CRLOutOfOrder, CRLRejected, VouchdError
from vouchd.pkix.reasons import Reason

PKITS = VECTORS / "PKITS_data"
AT = 1_420_070_400  # 2015-01-01: inside the validity of what is meant to be valid

GOOD, REVOKED, UNKNOWN, TRY_LATER = "good", "revoked", "unknown", "tryLater"


@dataclass(frozen=True)
class Case:
    """One CA of PKITS: its CRLs in order of arrival, what becomes of each, and what its certificates' status is then.

    `covering`: the operator declares that the scopes of these CRLs cover all the CA's certificates.
    """

    ca: str
    crls: dict[str, type[VouchdError] | None] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    crl_issuers: tuple[str, ...] = ()
    history: tuple[str, ...] = ()
    covering: bool = False
    reasons: dict[str, Reason] = field(default_factory=dict)


CASES = {
    "4.4.1 no CRL": Case("NoCRLCACert", {}, {"InvalidMissingCRLTest1EE": TRY_LATER}),
    "4.4.2, 3 revoked": Case(
        "GoodCACert",
        {"GoodCACRL": None},
        {"ValidCertificatePathTest1EE": GOOD, "RevokedsubCACert": REVOKED, "InvalidRevokedEETest3EE": REVOKED},
        reasons={"RevokedsubCACert": Reason.KEY_COMPROMISE, "InvalidRevokedEETest3EE": Reason.KEY_COMPROMISE},
    ),
    "4.4.4 bad signature": Case(
        "BadCRLSignatureCACert", {"BadCRLSignatureCACRL": CRLRejected}, {"InvalidBadCRLSignatureTest4EE": TRY_LATER}
    ),
    "4.4.5 wrong issuer name": Case(
        "BadCRLIssuerNameCACert", {"BadCRLIssuerNameCACRL": CRLRejected}, {"InvalidBadCRLIssuerNameTest5EE": TRY_LATER}
    ),
    "4.4.6 CRL of another CA": Case(
        "WrongCRLCACert", {"WrongCRLCACRL": CRLRejected}, {"InvalidWrongCRLTest6EE": TRY_LATER}
    ),
    "4.4.7 two CRLs": Case(
        "TwoCRLsCACert", {"TwoCRLsCABadCRL": CRLRejected, "TwoCRLsCAGoodCRL": None}, {"ValidTwoCRLsTest7EE": GOOD}
    ),
    "4.4.8 critical entry extension": Case(
        "UnknownCRLEntryExtensionCACert",
        {"UnknownCRLEntryExtensionCACRL": CRLRejected},
        {"InvalidUnknownCRLEntryExtensionTest8EE": TRY_LATER},
    ),
    "4.4.9, 10 critical extension": Case(
        "UnknownCRLExtensionCACert",
        {"UnknownCRLExtensionCACRL": CRLRejected},
        {"InvalidUnknownCRLExtensionTest9EE": TRY_LATER, "InvalidUnknownCRLExtensionTest10EE": TRY_LATER},
    ),
    "4.4.11 expired CRL": Case(
        "OldCRLnextUpdateCACert", {"OldCRLnextUpdateCACRL": None}, {"InvalidOldCRLnextUpdateTest11EE": TRY_LATER}
    ),
    "4.4.12 expired before 2000": Case(
        "pre2000CRLnextUpdateCACert",
        {"pre2000CRLnextUpdateCACRL": None},
        {"Invalidpre2000CRLnextUpdateTest12EE": TRY_LATER},
    ),
    "4.4.13 nextUpdate after 2050": Case(
        "GeneralizedTimeCRLnextUpdateCACert",
        {"GeneralizedTimeCRLnextUpdateCACRL": None},
        {"ValidGeneralizedTimeCRLnextUpdateTest13EE": GOOD},
    ),
    "4.4.14, 15 negative serial": Case(
        "NegativeSerialNumberCACert",
        {"NegativeSerialNumberCACRL": None},
        {"ValidNegativeSerialNumberTest14EE": GOOD, "InvalidNegativeSerialNumberTest15EE": REVOKED},
    ),
    "4.4.16-18 long serials": Case(
        "LongSerialNumberCACert",
        {"LongSerialNumberCACRL": None},
        {
            "ValidLongSerialNumberTest16EE": GOOD,
            "ValidLongSerialNumberTest17EE": GOOD,
            "InvalidLongSerialNumberTest18EE": REVOKED,
        },
    ),
    "4.4.19, 20 separate CRL key, in the history": Case(
        "SeparateCertificateandCRLKeysCertificateSigningCACert",
        {"SeparateCertificateandCRLKeysCRL": None},
        {
            "ValidSeparateCertificateandCRLKeysTest19EE": GOOD,
            "InvalidSeparateCertificateandCRLKeysTest20EE": REVOKED,
        },
        history=("SeparateCertificateandCRLKeysCRLSigningCert",),
    ),
    "4.4.19, 20 separate CRL key, named as CRL issuer": Case(
        "SeparateCertificateandCRLKeysCertificateSigningCACert",
        {"SeparateCertificateandCRLKeysCRL": None},
        {
            "ValidSeparateCertificateandCRLKeysTest19EE": GOOD,
            "InvalidSeparateCertificateandCRLKeysTest20EE": REVOKED,
        },
        crl_issuers=("SeparateCertificateandCRLKeysCRLSigningCert",),
    ),
    "4.4.19, 20 separate CRL key of nobody named": Case(
        "SeparateCertificateandCRLKeysCertificateSigningCACert",
        {"SeparateCertificateandCRLKeysCRL": CRLRejected},
        {
            "ValidSeparateCertificateandCRLKeysTest19EE": TRY_LATER,
            "InvalidSeparateCertificateandCRLKeysTest20EE": TRY_LATER,
        },
    ),
    "4.4.21 separate CRL key, not certified": Case(
        "SeparateCertificateandCRLKeysCA2CertificateSigningCACert",
        {"SeparateCertificateandCRLKeysCA2CRL": CRLRejected},
        {"InvalidSeparateCertificateandCRLKeysTest21EE": TRY_LATER},
    ),
    "4.5.1, 2 new key, old with new": Case(
        "BasicSelfIssuedNewKeyCACert",
        {"BasicSelfIssuedNewKeyCACRL": None},
        {"ValidBasicSelfIssuedOldWithNewTest1EE": GOOD, "InvalidBasicSelfIssuedOldWithNewTest2EE": REVOKED},
        history=("BasicSelfIssuedNewKeyOldWithNewCACert",),
    ),
    "4.5.3-5 old key, new with old": Case(
        "BasicSelfIssuedOldKeyCACert",
        {"BasicSelfIssuedOldKeyCACRL": None},
        {
            "ValidBasicSelfIssuedNewWithOldTest3EE": GOOD,
            "ValidBasicSelfIssuedNewWithOldTest4EE": GOOD,
            "InvalidBasicSelfIssuedNewWithOldTest5EE": REVOKED,
        },
        history=("BasicSelfIssuedOldKeyNewWithOldCACert",),
    ),
    "4.5.6, 7 self-issued CRL key": Case(
        "BasicSelfIssuedCRLSigningKeyCACert",
        {"BasicSelfIssuedCRLSigningKeyCACRL": None},
        {
            "ValidBasicSelfIssuedCRLSigningKeyTest6EE": GOOD,
            "InvalidBasicSelfIssuedCRLSigningKeyTest7EE": REVOKED,
        },
        history=("BasicSelfIssuedCRLSigningKeyCRLCert",),
    ),
    "4.7.4 no cRLSign": Case(
        "keyUsageCriticalcRLSignFalseCACert",
        {"keyUsageCriticalcRLSignFalseCACRL": CRLRejected},
        {"InvalidkeyUsageCriticalcRLSignFalseTest4EE": TRY_LATER},
    ),
    "4.7.5 no cRLSign, not critical": Case(
        "keyUsageNotCriticalcRLSignFalseCACert",
        {"keyUsageNotCriticalcRLSignFalseCACRL": CRLRejected},
        {"InvalidkeyUsageNotCriticalcRLSignFalseTest5EE": TRY_LATER},
    ),
    "4.14.1, 2 partition": Case(
        "distributionPoint1CACert",
        {"distributionPoint1CACRL": None},
        {
            "ValiddistributionPointTest1EE": GOOD,
            "ValiddistributionPointTest4EE": GOOD,
            "InvaliddistributionPointTest2EE": REVOKED,
        },
        covering=True,
    ),
    "4.14.3 partition, certificate of another": Case(
        "distributionPoint1CACert", {"distributionPoint1CACRL": None}, {"InvaliddistributionPointTest3EE": UNKNOWN}
    ),
    "4.14.5-7 partition with relative name": Case(
        "distributionPoint2CACert",
        {"distributionPoint2CACRL": None},
        {
            "ValiddistributionPointTest5EE": GOOD,
            "ValiddistributionPointTest7EE": GOOD,
            "InvaliddistributionPointTest6EE": REVOKED,
        },
        covering=True,
    ),
    "4.14.8, 9 partition, certificate of another": Case(
        "distributionPoint2CACert",
        {"distributionPoint2CACRL": None},
        {"InvaliddistributionPointTest8EE": UNKNOWN, "InvaliddistributionPointTest9EE": UNKNOWN},
    ),
    "4.14.10 no distribution point": Case(
        "NoissuingDistributionPointCACert",
        {"NoissuingDistributionPointCACRL": None},
        {"ValidNoissuingDistributionPointTest10EE": GOOD},
    ),
    "4.14.11 user certificates only": Case(
        "onlyContainsUserCertsCACert",
        {"onlyContainsUserCertsCACRL": None},
        {"InvalidonlyContainsUserCertsTest11EE": UNKNOWN},
    ),
    "4.14.12 CA certificates only": Case(
        "onlyContainsCACertsCACert", {"onlyContainsCACertsCACRL": None}, {"InvalidonlyContainsCACertsTest12EE": UNKNOWN}
    ),
    "4.14.13 CA certificates only, declared": Case(
        "onlyContainsCACertsCACert",
        {"onlyContainsCACertsCACRL": None},
        {"ValidonlyContainsCACertsTest13EE": GOOD},
        covering=True,
    ),
    "4.14.14 attribute certificates only": Case(
        "onlyContainsAttributeCertsCACert",
        {"onlyContainsAttributeCertsCACRL": None},
        {"InvalidonlyContainsAttributeCertsTest14EE": UNKNOWN},
    ),
    "4.14.15, 16 some reasons": Case(
        "onlySomeReasonsCA1Cert",
        {"onlySomeReasonsCA1compromiseCRL": None, "onlySomeReasonsCA1otherreasonsCRL": None},
        {"InvalidonlySomeReasonsTest15EE": REVOKED, "InvalidonlySomeReasonsTest16EE": REVOKED},
    ),
    "4.14.17 some reasons, not all": Case(
        "onlySomeReasonsCA2Cert",
        {"onlySomeReasonsCA2CRL1": None, "onlySomeReasonsCA2CRL2": None},
        {"InvalidonlySomeReasonsTest17EE": UNKNOWN},
    ),
    "4.14.18 some reasons, together all": Case(
        "onlySomeReasonsCA3Cert",
        {"onlySomeReasonsCA3compromiseCRL": None, "onlySomeReasonsCA3otherreasonsCRL": None},
        {"ValidonlySomeReasonsTest18EE": GOOD},
        covering=True,
    ),
    "4.14.19-21 some reasons, two points": Case(
        "onlySomeReasonsCA4Cert",
        {"onlySomeReasonsCA4compromiseCRL": None, "onlySomeReasonsCA4otherreasonsCRL": None},
        {
            "ValidonlySomeReasonsTest19EE": GOOD,
            "InvalidonlySomeReasonsTest20EE": REVOKED,
            "InvalidonlySomeReasonsTest21EE": REVOKED,
        },
        covering=True,
    ),
    "4.14.22, 23 indirect CRL of the CA itself": Case(
        "indirectCRLCA1Cert",
        {"indirectCRLCA1CRL": None},
        {"ValidIDPwithindirectCRLTest22EE": GOOD, "InvalidIDPwithindirectCRLTest23EE": REVOKED},
    ),
    "4.14.24, 25 indirect CRL of another": Case(
        "indirectCRLCA2Cert",
        {"indirectCRLCA1CRL": None},
        {"ValidIDPwithindirectCRLTest24EE": GOOD, "ValidIDPwithindirectCRLTest25EE": GOOD},
        crl_issuers=("indirectCRLCA1Cert",),
    ),
    "4.14.26, 27 indirect CRL of nobody named": Case(
        "indirectCRLCA2Cert",
        {"indirectCRLCA1CRL": CRLRejected},
        {"InvalidIDPwithindirectCRLTest26EE": TRY_LATER, "InvalidcRLIssuerTest27EE": TRY_LATER},
    ),
    "4.14.28, 29 CRL issuer below the CA": Case(
        "indirectCRLCA3Cert",
        {"indirectCRLCA3CRL": None, "indirectCRLCA3cRLIssuerCRL": None},
        {"ValidcRLIssuerTest28EE": GOOD, "ValidcRLIssuerTest29EE": GOOD},
        crl_issuers=("indirectCRLCA3cRLIssuerCert",),
        covering=True,
    ),
    "4.14.30 CRL issuer below the CA, alone": Case(
        "indirectCRLCA4Cert",
        {"indirectCRLCA4cRLIssuerCRL": None},
        {"ValidcRLIssuerTest30EE": GOOD},
        crl_issuers=("indirectCRLCA4cRLIssuerCert",),
        covering=True,
    ),
    "4.14.31-33 entries of several CAs": Case(
        "indirectCRLCA6Cert",
        {"indirectCRLCA5CRL": None},
        {"InvalidcRLIssuerTest31EE": REVOKED, "InvalidcRLIssuerTest32EE": REVOKED, "ValidcRLIssuerTest33EE": GOOD},
        crl_issuers=("indirectCRLCA5Cert",),
        covering=True,
    ),
    "4.14.34, 35 entries of several CAs, the issuer's own": Case(
        "indirectCRLCA5Cert",
        {"indirectCRLCA5CRL": None},
        {"InvalidcRLIssuerTest34EE": REVOKED, "InvalidcRLIssuerTest35EE": UNKNOWN},
    ),
    "4.15.1 delta without base": Case(
        "deltaCRLIndicatorNoBaseCACert",
        {"deltaCRLIndicatorNoBaseCACRL": CRLOutOfOrder},
        {"InvaliddeltaCRLIndicatorNoBaseTest1EE": TRY_LATER},
    ),
    "4.15.2-7 base and delta": Case(
        "deltaCRLCA1Cert",
        {"deltaCRLCA1CRL": None, "deltaCRLCA1deltaCRL": None},
        {
            "ValiddeltaCRLTest2EE": GOOD,
            "InvaliddeltaCRLTest3EE": REVOKED,
            "InvaliddeltaCRLTest4EE": REVOKED,
            "ValiddeltaCRLTest5EE": GOOD,
            "InvaliddeltaCRLTest6EE": REVOKED,
            "ValiddeltaCRLTest7EE": GOOD,
        },
        reasons={"InvaliddeltaCRLTest6EE": Reason.KEY_COMPROMISE},
    ),
    "4.15.8, 9 base newer than the delta's": Case(
        "deltaCRLCA2Cert",
        {"deltaCRLCA2CRL": None, "deltaCRLCA2deltaCRL": None},
        {"ValiddeltaCRLTest8EE": GOOD, "InvaliddeltaCRLTest9EE": REVOKED},
    ),
    "4.15.10 delta of a base not held": Case(
        "deltaCRLCA3Cert",
        {"deltaCRLCA3CRL": None, "deltaCRLCA3deltaCRL": CRLOutOfOrder},
        {"InvaliddeltaCRLTest10EE": TRY_LATER},
    ),
}

# Every other CRL belongs to a test of something else and is taken for its CA, but for these, each with its certificate:
NOT_TAKEN = {
    "DSACACRL": "DSACACert",  # DSA signatures are not supported
    # Signed with a key of the CA that another certificate holds, which has to be added: see 4.5 above.
    "BasicSelfIssuedCRLSigningKeyCACRL": "BasicSelfIssuedCRLSigningKeyCACert",
    "BasicSelfIssuedOldKeyCACRL": "BasicSelfIssuedOldKeyCACert",
}
UNREADABLE_CERTIFICATES = {"DSAParametersInheritedCACert"}  # a key without its parameters
