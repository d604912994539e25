package controller;

import com.fasterxml.jackson.core.JsonProcessingException;
import delivery.ApiClient;
import delivery.ApiException;
import delivery.api.DeliveriesApi;
import delivery.model.CompletionEvent;
import delivery.model.ProblemDetails;
import delivery.model.Receipt;
import delivery.model.Report;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Objects;
import java.util.Optional;

/**
 * Submits one finished team, as a controller's reconciler would: one call, and when to call again.
 *
 * <p>controller.Controller NAMESPACE TEAM
 */
public final class Controller {
  /** A retry does not help; somebody has to change something. */
  static final class Wrong extends Exception {
    Wrong(String said) {
      super(said);
    }
  }

  private final ApiClient client = new ApiClient();
  private final DeliveriesApi deliveries;

  Controller(String url, Path tokenFile) {
    client.updateBaseUri(url);
    client.setReadTimeout(Duration.ofSeconds(90));
    client.setRequestInterceptor(
        request -> request.setHeader("Authorization", "Bearer " + token(tokenFile)));
    deliveries = new DeliveriesApi(client);
  }

  /** Reads the token of a projected volume, each time, because the kubelet renews it. */
  private static String token(Path file) {
    try {
      return Files.readString(file).strip();
    } catch (IOException error) {
      throw new IllegalStateException("no token can be read from " + file, error);
    }
  }

  /**
   * Returns after how long to call again, or nothing if nothing is left to do. Calls are idempotent: settled targets are
   * not sent again.
   */
  Optional<Duration> reconcile(String namespace, String team) throws Wrong {
    Report report;
    try {
      report = deliveries.deliver(new CompletionEvent().namespace(namespace).team(team), null);
    } catch (ApiException failed) {
      return again(failed);
    }
    if (report == null || report.getPhase() == null || report.getTargets() == null) { // it asks for no field
      throw new Wrong("answered, and not as agentteam-delivery does");
    }
    for (Receipt target : report.getTargets()) {
      // A reason is text: a later service may return one that this program does not know.
      System.out.println(
          target.getName() + " " + target.getPhase() + " " + Objects.toString(target.getReason(), ""));
    }
    return Optional.empty(); // also if pending: the service continues by itself, and the team's status changes
  }

  /** Decides about a failed call by the type of the problem. */
  private Optional<Duration> again(ApiException failed) throws Wrong {
    if (failed.getCause() instanceof JsonProcessingException) {
      throw new Wrong("answered, and not as agentteam-delivery does");
    }
    if (failed.getCode() == 0) {
      return Optional.of(Duration.ofSeconds(5)); // no answer: the event may have arrived, and nothing is sent twice
    }
    ProblemDetails problem = problem(failed.getResponseBody());
    if (problem == null || problem.getType() == null) {
      throw new Wrong("answered " + failed.getCode() + ", and not as agentteam-delivery does");
    }
    String said = problem.getType() + " " + problem.getDetail();
    switch (problem.getType().toString()) {
      case Constants.PROBLEM_TEAM_NOT_FINISHED:
      case Constants.PROBLEM_UID_CHANGED:
      case Constants.PROBLEM_TEAM_NOT_FOUND:
        return Optional.empty(); // the next change of the resource, if any, calls this again
      case Constants.PROBLEM_UNAUTHENTICATED:
      case Constants.PROBLEM_REQUEST_TIMEOUT:
      case Constants.PROBLEM_CLAIM_IN_FLIGHT:
        System.out.println(said);
        return Optional.of(Duration.ofSeconds(30)); // a renewed token, a slow network, a send in progress
      default:
        Optional<String> wait = failed.getResponseHeaders().firstValue("Retry-After");
        if (wait.isEmpty() || !wait.get().matches("\\d{1,9}")) {
          throw new Wrong(said);
        }
        System.out.println(said);
        return Optional.of(Duration.ofSeconds(Long.parseLong(wait.get())));
    }
  }

  private ProblemDetails problem(String body) {
    try {
      return body == null ? null : client.getObjectMapper().readValue(body, ProblemDetails.class);
    } catch (JsonProcessingException other) {
      return null;
    }
  }

  public static void main(String[] arguments) {
    if (arguments.length != 2) {
      System.err.println("give a namespace and a team");
      System.exit(2);
    }
    Path tokenFile = Path.of(System.getenv("DELIVERY_TOKEN_FILE"));
    Controller controller = new Controller(System.getenv("DELIVERY_URL"), tokenFile);
    try {
      Optional<Duration> wait = controller.reconcile(arguments[0], arguments[1]);
      if (wait.isPresent()) {
        System.out.println("again in " + wait.get().toSeconds() + " s");
        System.exit(1);
      }
    } catch (Wrong wrong) {
      System.err.println(wrong.getMessage());
      System.exit(1);
    }
  }
}
