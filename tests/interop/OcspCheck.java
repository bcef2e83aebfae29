import java.io.InputStream;
import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateRevokedException;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.util.EnumSet;
import java.util.List;
import java.util.Set;

/**
 * What Java's PKIXRevocationChecker makes of an OCSP responder: prints good, "revoked REASON SECONDS", unknown, or
 * "refused WHY". Arguments: the responder's URL, the CA's certificate, then certificates to check, one line for each.
 */
public final class OcspCheck {
    private OcspCheck() {}

    public static void main(String[] arguments) throws Exception {
        URI responder = new URI(arguments[0]);
        X509Certificate issuer = read(arguments[1]);
        for (int i = 2; i < arguments.length; i++) {
            System.out.println(check(responder, issuer, read(arguments[i])));
        }
    }

    private static String check(URI responder, X509Certificate issuer, X509Certificate certificate) throws Exception {
        CertPathValidator validator = CertPathValidator.getInstance("PKIX");
        PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        checker.setOcspResponder(responder);
        checker.setOptions(EnumSet.of(PKIXRevocationChecker.Option.NO_FALLBACK));
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(issuer, null)));
        parameters.addCertPathChecker(checker);
        CertPath path = CertificateFactory.getInstance("X.509").generateCertPath(List.of(certificate));
        try {
            validator.validate(path, parameters);
            return "good";
        } catch (CertPathValidatorException error) {
            return failure(error);
        }
    }

    private static String failure(CertPathValidatorException error) {
        if (error.getCause() instanceof CertificateRevokedException revoked) {
            return "revoked " + revoked.getRevocationReason() + " " + revoked.getRevocationDate().getTime() / 1000;
        }
        if (error.getReason() == CertPathValidatorException.BasicReason.UNDETERMINED_REVOCATION_STATUS
                && String.valueOf(error.getMessage()).contains("unknown")) {
            return "unknown";
        }
        return "refused " + error.getMessage();
    }

    private static X509Certificate read(String file) throws Exception {
        try (InputStream in = Files.newInputStream(Path.of(file))) {
            return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }
}
