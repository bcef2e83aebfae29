import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;

/** Usage: AskByHttpClient URL REQUEST RESPONSE: POST it with java.net.http.HttpClient as it is, which offers h2c. */
public final class AskByHttpClient {
    public static void main(String[] words) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(words[0]))
                .header("Content-Type", "application/ocsp-request")
                .POST(HttpRequest.BodyPublishers.ofFile(Path.of(words[1])))
                .build();
        HttpClient client = HttpClient.newHttpClient();
        for (int round = 0; round < 2; round++) { // the second one goes over the connection of the first
            HttpResponse<byte[]> response = client.send(request, HttpResponse.BodyHandlers.ofByteArray());
            System.out.println(response.statusCode() + " " + response.version());
            Files.write(Path.of(words[2]), response.body());
        }
    }
}
