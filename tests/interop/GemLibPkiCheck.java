package de.gematik.pki.gemlibpki.ocsp;

import de.gematik.pki.gemlibpki.exception.GemPkiException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.util.List;
import org.bouncycastle.cert.ocsp.OCSPResp;

/** What gematik's reference client says of status and times of answers: CERTIFICATE SECONDS_LATER ANSWER... */
public final class GemLibPkiCheck extends TucPki006OcspVerifier {
    private GemLibPkiCheck(X509Certificate certificate, OCSPResp response) {
        super("vouchd", List.of(), certificate, response, false,
            OcspConstants.OCSP_TIME_TOLERANCE_PRODUCEDAT_DEFAULT_PAST_MILLISECONDS,
            OcspConstants.OCSP_TIME_TOLERANCE_PRODUCEDAT_DEFAULT_FUTURE_MILLISECONDS);
    }

    public static void main(String[] arguments) throws Exception {
        X509Certificate certificate;
        try (InputStream file = Files.newInputStream(Path.of(arguments[0]))) {
            certificate = (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(file);
        }
        for (int n = 2; n < arguments.length; n++) {
            OCSPResp response = new OCSPResp(Files.readAllBytes(Path.of(arguments[n])));
            ZonedDateTime at = ZonedDateTime.now(ZoneOffset.UTC).plusSeconds(Long.parseLong(arguments[1]));
            System.out.println(verdict(new GemLibPkiCheck(certificate, response), at));
        }
    }

    private static String verdict(GemLibPkiCheck check, ZonedDateTime at) {
        try {
            check.verifyStatus(at);
            check.verifyThisUpdate(at);
            check.verifyProducedAt(at);
            check.verifyNextUpdate(at);
            return "accepted";
        } catch (GemPkiException refusal) {
            return refusal.getMessage().strip().replace("\n", " ");
        }
    }
}
