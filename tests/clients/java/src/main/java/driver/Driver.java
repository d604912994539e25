package driver;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import delivery.ApiClient;
import delivery.ApiException;
import delivery.ApiResponse;
import delivery.api.DeliveriesApi;
import delivery.model.CompletionEvent;
import delivery.model.PreviewedTarget;
import delivery.model.ProblemDetails;
import delivery.model.Receipt;
import delivery.model.Report;
import java.io.IOException;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Takes steps with the generated Java client, and prints what came of each; driver.py does the same.
 *
 * <p>As a process, with steps as JSON on its input: driver.Driver URL
 */
public final class Driver {
  private static final ObjectMapper JSON = ApiClient.createDefaultObjectMapper();

  private final DeliveriesApi api;
  private String token = ""; // another at each step, perhaps

  private Driver(String url) {
    ApiClient client = new ApiClient();
    client.updateBaseUri(url);
    client.setReadTimeout(Duration.ofSeconds(60));
    client.setRequestInterceptor(request -> request.setHeader("Authorization", "Bearer " + token));
    api = new DeliveriesApi(client);
  }

  public static void main(String[] arguments) throws IOException {
    Driver driver = new Driver(arguments[0]);
    List<Map<String, Object>> results = new ArrayList<>();
    for (Map<String, String> step : JSON.readValue(System.in, new TypeReference<List<Map<String, String>>>() {})) {
      results.add(driver.take(step));
    }
    System.out.println(new ObjectMapper().writeValueAsString(results)); // which prints what is null too
  }

  private Map<String, Object> take(Map<String, String> step) {
    token = step.get("token");
    String namespace = step.get("namespace");
    String team = step.get("team");
    CompletionEvent event = new CompletionEvent().namespace(namespace).team(team);
    if (step.containsKey("redeliver")) {
      event.redeliver(CompletionEvent.RedeliverEnum.fromValue(step.get("redeliver")));
    }
    try {
      return switch (step.get("call")) {
        case "preview" -> previewed(api.preview(event).getTargets());
        case "read" -> reported(api.readDeliveryWithHttpInfo(namespace, team));
        default -> reported(api.deliverWithHttpInfo(event, step.get("prefer")));
      };
    } catch (ApiException refused) {
      return refused(refused);
    }
  }

  /** Says the same of an answer as the other drivers do. */
  private static Map<String, Object> reported(ApiResponse<Report> answer) {
    Report report = answer.getData();
    if (report == null || report.getPhase() == null || report.getTargets() == null) { // it asks for no field
      return Map.of("raised", "answered " + answer.getStatusCode());
    }
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("phase", report.getPhase());
    told.put("targets", report.getTargets().stream().map(Driver::target).toList());
    List<String> places = answer.getHeaders().get("location");
    if (places != null) {
      told.put("location", places.get(0));
    }
    return told;
  }

  private static Map<String, Object> target(Receipt one) {
    OffsetDateTime changed = one.getTimestamp();
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("name", one.getName());
    told.put("phase", one.getPhase());
    told.put("reason", one.getReason());
    told.put("httpStatus", one.getHttpStatus());
    told.put("changedLately", changed != null
        && Duration.between(changed, OffsetDateTime.now()).abs().compareTo(Duration.ofHours(1)) < 0);
    return told;
  }

  private static Map<String, Object> previewed(List<PreviewedTarget> targets) {
    Map<String, Object> would = new LinkedHashMap<>();
    targets.forEach(one -> would.put(one.getName(), one.getWould()));
    return Map.of("would", would);
  }

  private static Map<String, Object> refused(ApiException answer) {
    ProblemDetails problem = problem(answer.getResponseBody());
    if (problem == null || problem.getType() == null) {
      return Map.of("raised", "answered " + answer.getCode());
    }
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("problem", problem.getType());
    told.put("status", problem.getStatus());
    if (!problem.getErrors().isEmpty()) {
      told.put("errors", problem.getErrors());
    }
    answer.getResponseHeaders().firstValueAsLong("Retry-After").ifPresent(wait -> told.put("retryAfter", wait));
    return told;
  }

  private static ProblemDetails problem(String body) {
    try {
      return body == null ? null : JSON.readValue(body, ProblemDetails.class);
    } catch (JsonProcessingException other) {
      return null;
    }
  }
}
