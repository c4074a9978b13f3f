import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.Collections;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.est.CACertsResponse;
import org.bouncycastle.est.CSRRequestResponse;
import org.bouncycastle.est.ESTAuth;
import org.bouncycastle.est.ESTException;
import org.bouncycastle.est.ESTService;
import org.bouncycastle.est.EnrollmentResponse;
import org.bouncycastle.est.HttpAuth;
import org.bouncycastle.est.jcajce.JsseDefaultHostnameAuthorizer;
import org.bouncycastle.est.jcajce.JsseESTServiceBuilder;
import org.bouncycastle.pkcs.PKCS10CertificationRequest;

/**
 * Bouncy Castle's EST client as a command. Arguments: port, root certificate (DER file), label or -, then one of
 *   cacerts | csrattrs | enrol CSR USER CODE-FILE | enrol CSR | renew CSR CERTIFICATE PKCS8-KEY
 * with all files in DER. One line per result: "certificate BASE64", "attribute OID", "pending SECONDS",
 * "refused STATUS REASON".
 */
public final class EstClient {
    public static void main(String[] args) throws Exception {
        String operation = args[3];
        JsseESTServiceBuilder builder =
                new JsseESTServiceBuilder("localhost", Integer.parseInt(args[0]), trusting(Path.of(args[1])));
        builder.withHostNameAuthorizer(new JsseDefaultHostnameAuthorizer(Collections.emptySet()));
        builder.withFilterCipherSuites(false);
        builder.withTimeout(10_000);
        if (!args[2].equals("-")) builder.withLabel(args[2]);
        if (operation.equals("renew")) builder.withKeyManagers(identity(Path.of(args[5]), Path.of(args[6])));
        ESTService service = builder.build();
        try {
            switch (operation) {
                case "cacerts":
                    CACertsResponse authorities = service.getCACerts();
                    for (X509CertificateHolder holder : ESTService.storeToArray(authorities.getCertificateStore())) print(holder);
                    break;
                case "csrattrs":
                    CSRRequestResponse wanted = service.getCSRAttributes();
                    if (!wanted.hasAttributesResponse()) break;
                    for (ASN1ObjectIdentifier id : wanted.getAttributesResponse().getRequirements()) {
                        System.out.println("attribute " + id.getId());
                    }
                    break;
                case "enrol":
                    ESTAuth auth = args.length < 7 ? null
                            : new HttpAuth(args[5], Files.readString(Path.of(args[6])).trim().toCharArray());
                    enrol(service, false, Path.of(args[4]), auth);
                    break;
                case "renew":
                    enrol(service, true, Path.of(args[4]), null);
                    break;
                default:
                    throw new IllegalArgumentException(operation);
            }
        } catch (ESTException refused) {
            if (refused.getStatusCode() == 0) throw refused;
            InputStream body = refused.getBody();
            String reason = body == null ? "" : new String(body.readAllBytes(), StandardCharsets.UTF_8);
            System.out.println("refused " + refused.getStatusCode() + " " + reason.replace('\n', ' ').trim());
        }
    }

    private static void enrol(ESTService service, boolean renewal, Path csr, ESTAuth auth) throws Exception {
        EnrollmentResponse response =
                service.simpleEnroll(renewal, new PKCS10CertificationRequest(Files.readAllBytes(csr)), auth);
        while (!response.isCompleted()) {
            long wait = response.getNotBefore() - System.currentTimeMillis();
            System.out.println("pending " + Math.round(wait / 1000.0));
            Thread.sleep(Math.max(0, wait) + 50);
            response = service.simpleEnroll(response);
        }
        for (X509CertificateHolder holder : ESTService.storeToArray(response.getStore())) print(holder);
    }

    private static void print(X509CertificateHolder holder) throws Exception {
        System.out.println("certificate " + Base64.getEncoder().encodeToString(holder.getEncoded()));
    }

    private static X509Certificate certificate(Path file) throws Exception {
        try (InputStream in = Files.newInputStream(file)) {
            return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }

    private static X509TrustManager trusting(Path root) throws Exception {
        KeyStore anchors = KeyStore.getInstance("PKCS12");
        anchors.load(null, null);
        anchors.setCertificateEntry("root", certificate(root));
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(anchors);
        return (X509TrustManager) factory.getTrustManagers()[0];
    }

    private static javax.net.ssl.KeyManager[] identity(Path certificate, Path key) throws Exception {
        X509Certificate own = certificate(certificate);
        PrivateKey privateKey = KeyFactory.getInstance(own.getPublicKey().getAlgorithm())
                .generatePrivate(new PKCS8EncodedKeySpec(Files.readAllBytes(key)));
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("own", privateKey, new char[0], new Certificate[] {own});
        KeyManagerFactory factory = KeyManagerFactory.getInstance("PKIX");
        factory.init(store, new char[0]);
        return factory.getKeyManagers();
    }

    private EstClient() {}
}
