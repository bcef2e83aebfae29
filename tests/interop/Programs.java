import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Runs programs one after the other in one machine: each line of standard input is a class and its words, between tabs.
 * Says how many octets the program printed, on a line of its own, then those; an exception is printed as well.
 */
public final class Programs {
    private Programs() {}

    public static void main(String[] none) throws Exception {
        PrintStream answers = System.out;
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = orders.readLine(); line != null; line = orders.readLine()) {
            byte[] printed = printed(line.split("\t"));
            answers.println(printed.length);
            answers.write(printed);
            answers.flush();
        }
    }

    private static byte[] printed(String[] words) {
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream out = new PrintStream(printed, true, StandardCharsets.UTF_8);
        System.setOut(out);
        try {
            String[] arguments = Arrays.copyOfRange(words, 1, words.length);
            Class.forName(words[0]).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (ReflectiveOperationException error) {
            error.printStackTrace(out);
        }
        return printed.toByteArray();
    }
}
