"""THE place where an OCSP response is built: guard -> decide -> sign.

A request is parsed, guarded and decided once for all that are like it; `templates` says what is alike and why.

What answers rest on is the state of one CA. When that changes, its `Basis` is not current any more, and with it goes
whatever was prepared or cached from it, here and at the port, at once and in one step; the other CAs keep all of
theirs. A new state is taken over CA by CA (`replacing`), so that the loop that answers never stands still for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from vouchd.core.key_history import pairs
from vouchd.core.policy import NoncePolicy, RequestSignaturePolicy, ResponsePolicy, UnknownIssuerPolicy
from vouchd.core.ports import Signer
from vouchd.core.requestor import verify_requestor
from vouchd.core.response import EXTENDED_REVOKE, response_data, single_response
from vouchd.core.status import ServingAuthority, ServingState, Verdicts
from vouchd.core.times import Moment, Times
from vouchd.errors import IndexFileError, MalformedRequest, RequestError, SignatureRequired, TryLater, Unauthorized
from vouchd.pkix import certs
from vouchd.pkix.ocsp import CertID, OCSPRequest, parse_request
from vouchd.service.assembling import Draft, Signing, Template, choose_algorithm, prepare_signing
from vouchd.service.signer_certificates import SignerCertificates
from vouchd.service.signer_choice import Issuer, SignerChoice
from vouchd.service.signer_revocations import SignerRevocations
from vouchd.service.statements import Statement, Statements, foreign_statement
from vouchd.service.templates import Templates
from vouchd.service.terms import Answer, Basis, Terms, error_answer

# Why a CA is withheld.
BEHIND, UNPROVED = "behind", "unproved"
_WITHHELD = {
    BEHIND: "a newer CRL of this CA is known and not answered from yet",
    UNPROVED: "this CA is not proved yet since the start",
}

# How many CAs are compared with their former state in one step of taking over a new one.
_STEP = 512

# For so long after a change another worker may still have answered from what was before.
_SETTLING_SECONDS = 60

# What is said of a CA with so many issuing points is worked out before it is asked.
_MANY_POINTS = 16
_NOBODYS = b"\x40" + bytes(15)  # a serial that most likely nothing lists

# By key of a CA (`certs.key_id`): the decisions on its serials.
VerdictsByKey = dict[str, Verdicts]


class _Standing:
    """A CA as it is answered for, with what is known of it as long as its state is served."""

    __slots__ = ("_statements", "_verdicts", "basis", "former_update", "newest_acceptance", "serving")

    def __init__(self, serving: ServingAuthority, verdicts: VerdictsByKey | None) -> None:
        self.serving = serving
        self._verdicts = verdicts  # None until it is asked for, as `_statements`: of many CAs few are
        self.newest_acceptance = max((point.epoch.accepted_at for point in serving.points), default=0)
        self.basis = Basis()
        self.former_update: int | None = None  # the latest that was said before to be thisUpdate, None: nothing was
        self._statements: dict[str, Statements] | None = None  # by key

    def follow(self, former: _Standing) -> None:
        """What is said of it comes after what was said from `former`, which may be this one."""
        points = former.serving.points
        updates = [crl.this_update for point in points for crl in (point.epoch.base, point.epoch.newest)]
        since = former.serving.authority.policy.compromised_at or 0
        self.former_update = max([since, former.former_update or 0, *updates])

    def statements(self, key: str, policy: ResponsePolicy) -> Statements:
        """What is said of the serials under that key of the CA (`certs.key_id`)."""
        if self._statements is None:
            self._statements = {}
        statements = self._statements.get(key)
        if statements is None:
            verdicts = self.verdicts(key, policy)
            statements = self._statements[key] = Statements(self.serving, verdicts, policy, self.basis)
        return statements

    def verdicts(self, key: str, policy: ResponsePolicy) -> Verdicts:
        """The decisions on these serials."""
        if self._verdicts is None:
            self._verdicts = {}
        verdicts = self._verdicts.get(key)
        if verdicts is None:
            verdicts = self._verdicts[key] = Verdicts(self.serving, policy, key)
        return verdicts

    def end(self) -> None:
        """What rests on it counts no more; what is said from now on rests on another basis."""
        self.basis.current = False
        for statements in (self._statements or {}).values():
            statements.end()
        self.follow(self)
        self.basis, self._statements = Basis(), None


class Responder:
    """Answers OCSP requests from a ServingState that can be replaced at any moment.

    `signers` by nickname; the default signer answers for every CA whose policy names none. Not thread-safe: one event
    loop owns a responder, but the signature of a draft may be made in another thread.
    """

    def __init__(
        self, state: ServingState, signers: Mapping[str, Signer], default_signer: str, policy: ResponsePolicy
    ) -> None:
        self._policy = policy
        self._halted = False
        self._withheld: dict[str, frozenset[str]] = {}  # by cause
        self._state = ServingState(-1, ())  # no state was made from it, so whatever comes is taken as a whole
        self._templates = Templates()
        self._standings: dict[str, _Standing] = {}  # by id of the CA
        digests = [digest for digest in certs.DIGEST_FUNCTIONS if digest not in policy.reject_algorithms]
        self._issuers: dict[str, dict[bytes, Issuer]] = {digest: {} for digest in digests}  # by their hashes in CertIDs
        self._is_contested = False  # two CAs have a name and a key in common
        self._of_several = Basis()  # of answers that speak of several CAs
        self._newest_acceptance: int | None = None  # of all CAs; None until it is wanted
        # By id of the CA: of the state that is about to be taken over.
        self._foreseen: dict[str, tuple[ServingAuthority, VerdictsByKey]] = {}
        self.sign_with(signers, default_signer)
        self.replace(state)

    def halt(self, halted: bool) -> None:  # noqa: FBT001  a state, not an option
        """Answer tryLater to everything from now on, or answer again: the verdict of the self tests.

        The same verdict once more, as after a restart of the manager, costs nothing: of ten thousand CAs it would hold
        the loop for a tenth of a second.
        """
        if halted is not self._halted:
            self._halted = halted
            self._end(self._standings)

    def withhold(self, authority_ids: frozenset[str], cause: str = BEHIND) -> None:
        """Answer tryLater for these CAs from now on for that cause, BEHIND or UNPROVED, and for no others for it."""
        changed = authority_ids ^ self._withheld.get(cause, frozenset())
        self._withheld[cause] = authority_ids
        self._end(changed)

    def sign_with(self, signers: Mapping[str, Signer], default_signer: str) -> None:
        """Sign with these from now on; what was prepared with others is dropped."""
        self._signers = signers
        self._own: Counter[str] = Counter()  # how many certificates of CAs have the name and the key of a signer
        self._certificates = SignerCertificates({name: signer.certificate_der for name, signer in signers.items()})
        servings = [standing.serving for standing in self._standings.values()]
        self._revocations = SignerRevocations(self._certificates, servings)
        self._choice = SignerChoice(self._certificates, self._prepare_signing, default_signer, self._revocations)
        for serving in servings:
            self._claim(serving, 1)
        self._templates.clear()
        self._end(self._standings)

    def _prepare_signing(self, nickname: str) -> Signing:
        return prepare_signing(self._signers[nickname], self._policy, own_key=self._own[nickname] > 0)

    def foresee(self, state: ServingState, at: int) -> None:
        """Work out what no serial changes of the CAs with many issuing points; may be called in another thread.

        With ten thousand partitions that takes a tenth of a second, for which the loop would stand still at the first
        question. Nothing is answered from `state` before `replace`.
        """
        changed = state.changed_since(self._state.version)
        ids = state.by_id.keys() if changed is None else changed & state.by_id.keys()
        foreseen = {}
        for serving in map(state.by_id.__getitem__, ids):
            if len(serving.points) >= _MANY_POINTS:
                verdicts: VerdictsByKey = {}
                for key in {certs.key_id_of(bits) for _, bits in pairs(serving.authority)}:
                    verdicts[key] = Verdicts(serving, self._policy, key)
                    with suppress(RequestError, IndexFileError):  # told to who asks
                        verdicts[key].of(_NOBODYS, at)
                foreseen[serving.authority.id] = serving, verdicts
        self._foreseen = foreseen

    def replace(self, state: ServingState) -> None:
        """Answer from `state` from now on; what was prepared for a CA whose state is the former one stays."""
        for _ in self.replacing(state):
            pass

    def replacing(self, state: ServingState) -> Iterator[None]:
        """The steps of `replace`; between two of them each CA is answered for from its former or its new state."""
        changed = state.changed_since(self._state.version)
        self._state = state
        if changed is None:
            yield from self._comparing(state)
            changed = frozenset(self._standings.keys() - state.by_id.keys())
        for authority_id in changed & state.by_id.keys():
            self._serve(state.by_id[authority_id], self._standings.get(authority_id))
            yield
        for authority_id in changed & self._standings.keys():
            if authority_id not in state.by_id:
                self._leave(authority_id)
                yield
        self._foreseen = {}
        if self._is_contested:
            self._match_in_order()

    def _comparing(self, state: ServingState) -> Iterator[None]:
        """Answer for each CA of a state of which nobody says what changed."""
        for number, serving in enumerate(state.authorities):
            standing = self._standings.get(serving.authority.id)
            if standing is None or standing.serving != serving:
                self._serve(serving, standing)
                yield
            elif number % _STEP == 0:
                yield

    @property
    def revocations(self) -> SignerRevocations:
        """What the CAs of the state say of the signers."""
        return self._revocations

    @property
    def certificates(self) -> SignerCertificates:
        """Those of the signers."""
        return self._certificates

    @property
    def state(self) -> ServingState:
        """What is answered from."""
        return self._state

    def verdicts(self, authority_id: str, key: str) -> Verdicts:
        """The decisions on the serials under that key (`certs.key_id`) of a CA of the state."""
        return self._standings[authority_id].verdicts(key, self._policy)

    def _serve(self, serving: ServingAuthority, former: _Standing | None) -> None:
        """Answer for a CA from this state."""
        authority_id = serving.authority.id
        if former is None or former.serving.authority.certificates != serving.authority.certificates:
            self._claim(serving, 1)
            if former is not None:
                self._claim(former.serving, -1)
                self._withdraw(former.serving)
        self._end((authority_id,))
        foreseen, verdicts = self._foreseen.get(authority_id, (None, None))
        standing = _Standing(serving, verdicts if foreseen is serving else None)
        if former is not None:
            standing.follow(former)
        self._standings[authority_id] = standing
        if self._revocations.hear(serving):  # a signer of its may answer for others, too
            self._end(self._standings)
        for digest, issuer_hash, one in self._named(serving):
            known = self._issuers[digest].get(issuer_hash)
            self._is_contested |= known is not None and known.serving.authority.id != authority_id
            self._issuers[digest][issuer_hash] = one

    def _leave(self, authority_id: str) -> None:
        """Answer for that CA no more."""
        serving = self._standings[authority_id].serving
        self._claim(serving, -1)
        self._end(self._standings if self._revocations.forget(authority_id) else (authority_id,))
        self._withdraw(serving)
        del self._standings[authority_id]

    def _withdraw(self, serving: ServingAuthority) -> None:
        """Match no CertID with that CA any more."""
        for digest, issuer_hash, _ in self._named(serving):
            known = self._issuers[digest].get(issuer_hash)
            if known is not None and known.serving.authority.id == serving.authority.id:
                del self._issuers[digest][issuer_hash]

    def _match_in_order(self) -> None:
        """Of CAs that have a name and a key in common, and are about to become one, the last one answers."""
        standings = [self._standings[serving.authority.id] for serving in self._state.authorities]
        every = [named for standing in standings for named in self._named(standing.serving)]
        issuers: dict[str, dict[bytes, Issuer]] = {digest: {} for digest in self._issuers}
        for digest, issuer_hash, one in every:
            issuers[digest][issuer_hash] = one
        # What was said from one in whose place another one answers now counts no more.
        answering = [(one, issuers[digest][issuer_hash]) for digest, issuer_hash, one in every]
        self._end({one.serving.authority.id for one, last in answering if last.serving is not one.serving})
        self._issuers, self._is_contested = issuers, sum(map(len, issuers.values())) < len(every)

    def _claim(self, serving: ServingAuthority, count: int) -> None:
        """Count the signers that have a name and a key of that CA: they send no certificate along."""
        for certificate in set(serving.authority.certificates):
            for name in self._certificates.of_key(certificate):
                was_own = self._own[name] > 0
                self._own[name] += count
                if (self._own[name] > 0) is not was_own:
                    self._choice.renew(name)
                    self._templates.clear()

    def _named(self, serving: ServingAuthority) -> Iterator[tuple[str, bytes, Issuer]]:
        """Digest and issuer hashes of the CertIDs that name that CA, each with the key that they name."""
        for name, key in pairs(serving.authority):
            one = Issuer(serving, certs.key_id_of(key))
            for digest in self._issuers:
                yield digest, certs.issuer_hash(name, key, digest), one

    def _end(self, authority_ids: Iterable[str]) -> None:
        """What rests on the state of these CAs, or on that of several, counts no more."""
        for authority_id in authority_ids:
            standing = self._standings.get(authority_id)
            if standing is not None:
                standing.end()
            self._choice.forget(authority_id)
        self._of_several.current = False
        self._of_several = Basis()
        self._newest_acceptance = None

    def ca_label(self, cert_id: CertID) -> str:
        """The label of the CA of a CertID; of one that is not ours the hashes of its name and key (hex)."""
        issuer = self._issuers.get(cert_id.digest or "", {}).get(cert_id.issuer)
        return issuer.serving.authority.label if issuer else cert_id.issuer.hex()

    def answer(self, request_der: bytes, at: int) -> Answer:
        """The answer to a request at POSIX time `at`; bad input gets an OCSP error status, never an exception.

        Raises: SigningError when the key cannot be used.
        """
        draft = self.draft(request_der, at)
        return draft if isinstance(draft, Answer) else draft.signed()

    def draft(self, request_der: bytes, at: int) -> Draft | Answer:
        """The same without the signature; an answer that has none, an error, is whole."""
        try:
            if self._halted:
                raise TryLater("a self test failed", cause="self_test")
            return self._templates.draft(request_der, at) or self._prepare(request_der, at)
        except RequestError as error:
            return error_answer(error)
        except IndexFileError as error:
            return error_answer(TryLater(str(error), cause="index"))

    def _prepare(self, request_der: bytes, at: int) -> Draft:
        """Parse, guard and decide; what it comes to is kept for requests that are like it."""
        if len(request_der) > self._policy.max_request_bytes:
            raise MalformedRequest(f"a request of more than {self._policy.max_request_bytes} bytes")
        request = parse_request(request_der, max_cert_ids=self._policy.max_cert_ids)
        self._guard(request, at)
        issuers = [self._issuer(cert_id) for cert_id in request.cert_ids]
        nonce_der = request.nonce_der if self._policy.nonce is not NoncePolicy.IGNORE else b""
        template = self._decide(request, issuers, len(request_der), len(nonce_der), at)
        if None not in issuers:
            self._templates.keep(request_der, request, template, echoed=bool(nonce_der))
        return template.draft(at, request.cert_ids[0].serial if template.statements else b"", nonce_der)

    def _guard(self, request: OCSPRequest, at: int) -> None:
        if request.nonce is not None and self._policy.nonce is NoncePolicy.FORBID:
            raise Unauthorized("requests with a nonce are not answered here")
        if request.nonce is None and self._policy.nonce is NoncePolicy.REQUIRE:
            raise MalformedRequest("requests without a nonce are not answered here")
        if self._policy.signature is RequestSignaturePolicy.IGNORE:
            return
        if request.signature is not None:
            verify_requestor(request, self._policy.requestor_trust, at)
        elif self._policy.signature is RequestSignaturePolicy.REQUIRE:
            raise SignatureRequired("only signed requests are answered here")

    def _decide(
        self, request: OCSPRequest, issuers: list[Issuer | None], size: int, nonce_size: int, at: int
    ) -> Template:
        """Decide every CertID and prepare one response for all of them, in their order."""
        ids = {issuer.serving.authority.id if issuer else "" for issuer in issuers}
        for cause, withheld in self._withheld.items():
            if not withheld.isdisjoint(ids):
                raise TryLater(_WITHHELD[cause], cause=cause)
        signing = self._choice.signing(issuers, at, request.preferred)
        moment = Moment(at, signing.not_after, is_now=bool(nonce_size))
        statements = [
            self._statement(cert_id.serial, issuer, moment, signing.not_before)
            for cert_id, issuer in zip(request.cert_ids, issuers, strict=True)
        ]
        singles = [
            single_response(cert_id.der, statement.der)
            for cert_id, statement in zip(request.cert_ids, statements, strict=True)
        ]
        extensions = EXTENDED_REVOKE if any(statement.non_issued for statement in statements) else b""
        head, responses, rest = response_data(signing.responder_id, singles, extensions, nonce_size)
        times = [statement.times for statement in statements]
        fresh_until = [each.fresh_until for each in times if each.fresh_until is not None]
        ends_at = [each.ends_at for each in times if each.ends_at is not None]
        authority_id = next(iter(ids)) if len(ids) == 1 else ""
        this_update = min([each.this_update for each in times])
        # Never before the signer was valid; no clock of this host's, so that clones agree.
        produced_at = max([signing.not_before, *[each.produced_at for each in times]])
        standing = self._standings.get(authority_id)
        settled_at, is_dated = _dating(standing, this_update, at)
        algorithm = choose_algorithm(signing.signer, request.preferred)
        terms = Terms(
            cert_statuses=tuple([statement.status for statement in statements]),
            this_update=this_update,
            next_update=min([signing.not_after, *ends_at]) if ends_at else None,
            fresh_until=min([signing.not_after, *fresh_until]),
            begins_at=0 if nonce_size else max([produced_at, *[each.this_update for each in times]]),
            slot_end=_slot_end(times, signing.not_after),
            repeats=signing.signer.repeats(algorithm),
            settled_at=settled_at,
            is_dated=is_dated and signing.not_before <= this_update,
            cacheable=None not in issuers and request.nonce is None,
            authority_id=authority_id,
            unusual=request.unusual,
            basis=standing.basis if standing is not None else self._of_several,
        )
        steady = [self._choice.steady_until(issuers, at), *(statement.steady_until for statement in statements)]
        hole = statements[0].is_shared and len(statements) == 1 and issuers[0] is not None
        place = len(responses) - (len(statements[0].der) + len(request.cert_ids[0].serial) if hole else 0)
        return Template(
            signing,
            algorithm,
            terms,
            (head, responses[:place], responses[len(responses) - len(statements[0].der) :] + rest if hole else rest),
            produced_at=None if nonce_size else produced_at,
            since=at,
            until=min([signing.not_after, *fresh_until, *(end for end in steady if end is not None)]),
            size=size,
            statements=self._statements_of(issuers[0]) if hole and issuers[0] is not None else None,
        )

    def _statement(self, serial: bytes, issuer: Issuer | None, moment: Moment, not_before: int) -> Statement:
        """What is said of one serial; `not_before` is the start of the signer's life."""
        if issuer is not None:
            return self._statements_of(issuer).of(serial, moment)
        if self._newest_acceptance is None:
            self._newest_acceptance = max((one.newest_acceptance for one in self._standings.values()), default=0)
        return foreign_statement(min(max(not_before, self._newest_acceptance), moment.at))

    def _statements_of(self, issuer: Issuer) -> Statements:
        return self._standings[issuer.serving.authority.id].statements(issuer.key, self._policy)

    def _issuer(self, cert_id: CertID) -> Issuer | None:
        """The CA of a CertID, matched by name hash and key hash; None when the policy has `unknown` said of it.

        Raises: Unauthorized.
        """
        issuer = self._issuers.get(cert_id.digest or "", {}).get(cert_id.issuer)
        if issuer is None and self._policy.unknown_issuer is UnknownIssuerPolicy.UNAUTHORIZED:
            raise Unauthorized("not a CA that this responder answers for")
        return issuer


def _dating(standing: _Standing | None, this_update: int, at: int) -> tuple[int, bool]:
    """`settled_at` and `is_dated` (see Terms) of an answer with that thisUpdate, drafted now for that CA alone."""
    if standing is None:
        return at + _SETTLING_SECONDS, False
    former, is_live = standing.former_update, standing.serving.authority.policy.live_times
    return at if former is None else at + _SETTLING_SECONDS, not is_live and (former is None or former < this_update)


def _slot_end(times: list[Times], not_after: int) -> int | None:
    """When the slot of an answer with these times ends, if it is what ends the answer, and not the signer's life."""
    ends = {each.slot_end for each in times}
    end = next(iter(ends)) if len(ends) == 1 else None
    return end if end is not None and end <= not_after else None
