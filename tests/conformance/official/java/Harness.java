import com.microsoft.durabletask.DurableTaskClient;
import com.microsoft.durabletask.DurableTaskGrpcClientBuilder;
import com.microsoft.durabletask.DurableTaskGrpcWorkerBuilder;
import com.microsoft.durabletask.NewOrchestrationInstanceOptions;
import com.microsoft.durabletask.OrchestrationMetadata;
import com.microsoft.durabletask.OrchestrationRuntimeStatus;
import com.microsoft.durabletask.TaskActivity;
import com.microsoft.durabletask.TaskActivityFactory;
import com.microsoft.durabletask.TaskOrchestration;
import com.microsoft.durabletask.TaskOrchestrationFactory;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.stub.MetadataUtils;
import java.net.URI;
import java.time.Duration;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;
import java.util.UUID;
import java.util.concurrent.TimeoutException;
import java.util.function.Predicate;
import java.util.function.Supplier;

/** What every feature of the Java suite needs: a connection, a worker, and a verdict. */
final class Harness implements AutoCloseable {
  /** How long anything may take before the feature counts as broken. */
  static final Duration DEADLINE = Duration.ofSeconds(60);

  /** The column of the table that this is. */
  private static final String SDK = System.getenv().getOrDefault("CONFORMANCE_SDK", "java");

  /** Something that may throw. */
  interface Body {
    void run() throws Exception;
  }

  /** The check of one feature. */
  interface Check {
    void run(Harness harness) throws Exception;
  }

  final DurableTaskClient client;
  private final String hub;
  private final ManagedChannel channel;

  Harness(String hub) {
    this.hub = hub;
    channel = connect();
    client = new DurableTaskGrpcClientBuilder().grpcChannel(channel).build();
  }

  private ManagedChannel connect() {
    URI endpoint = URI.create(setting("endpoint"));
    Metadata headers = new Metadata();
    headers.put(Metadata.Key.of("taskhub", Metadata.ASCII_STRING_MARSHALLER), hub);
    return NettyChannelBuilder.forAddress(endpoint.getHost(), endpoint.getPort())
        .usePlaintext()
        .intercept(MetadataUtils.newAttachHeadersInterceptor(headers))
        .build();
  }

  /** One part of the connection string. */
  static String setting(String key) {
    for (String part : System.getenv("CONFORMANCE_CONNECTION_STRING").split(";")) {
      String[] pair = part.split("=", 2);
      if (pair[0].equalsIgnoreCase(key)) {
        return pair[1];
      }
    }
    throw new IllegalStateException("the connection string has no " + key);
  }

  @Override
  public void close() {
    client.close();
    channel.shutdownNow();
  }

  /** A worker to be filled, then run. */
  final class Parts {
    // A worker does not close a channel that it was given, and would go on taking work.
    private final ManagedChannel own = connect();
    final DurableTaskGrpcWorkerBuilder builder =
        new DurableTaskGrpcWorkerBuilder().grpcChannel(own);

    Parts orchestration(String name, TaskOrchestration code) {
      builder.addOrchestration(
          new TaskOrchestrationFactory() {
            @Override
            public String getName() {
              return name;
            }

            @Override
            public TaskOrchestration create() {
              return code;
            }
          });
      return this;
    }

    Parts activity(String name, TaskActivity code) {
      builder.addActivity(
          new TaskActivityFactory() {
            @Override
            public String getName() {
              return name;
            }

            @Override
            public TaskActivity create() {
              return code;
            }
          });
      return this;
    }

    /** Runs {@code body} while the worker runs. */
    void during(Body body) throws Exception {
      try (var worker = builder.build()) {
        worker.start();
        body.run();
      } finally {
        own.shutdownNow();
      }
    }
  }

  Parts worker() {
    return new Parts();
  }

  String start(String name, Object input) {
    return client.scheduleNewOrchestrationInstance(name, input);
  }

  String start(String name, Object input, String instanceId) {
    var options = new NewOrchestrationInstanceOptions().setInput(input).setInstanceId(instanceId);
    return client.scheduleNewOrchestrationInstance(name, options);
  }

  void started(String instance) throws TimeoutException {
    client.waitForInstanceStart(instance, DEADLINE);
  }

  /** The state of an instance once it has ended. */
  OrchestrationMetadata end(String instance) throws TimeoutException {
    return client.waitForInstanceCompletion(instance, DEADLINE, true);
  }

  /** The output of an instance that has to complete. */
  <T> T outputOf(String instance, Class<T> type) throws TimeoutException {
    OrchestrationMetadata state = end(instance);
    equal(OrchestrationRuntimeStatus.COMPLETED, state.getRuntimeStatus());
    return state.readOutputAs(type);
  }

  <T> T output(String name, Object input, Class<T> type) throws TimeoutException {
    return outputOf(start(name, input), type);
  }

  OrchestrationMetadata get(String instance) {
    return client.getInstanceMetadata(instance, true);
  }

  boolean exists(String instance) {
    OrchestrationMetadata state = get(instance);
    return state != null && state.isInstanceFound();
  }

  void untilStatus(String instance, OrchestrationRuntimeStatus status) throws Exception {
    until(
        () -> get(instance),
        state -> state.isInstanceFound() && state.getRuntimeStatus() == status);
  }

  /** Fails where the instance ends within a moment. */
  void staysOpen(String instance) {
    throwing(
        TimeoutException.class,
        () -> client.waitForInstanceCompletion(instance, Duration.ofMillis(1500), false));
  }

  /** Asks again until {@code holds} or the deadline. */
  static <T> T until(Supplier<T> get, Predicate<T> holds) throws Exception {
    long end = System.nanoTime() + DEADLINE.toNanos();
    while (true) {
      T value = get.get();
      if (holds.test(value)) {
        return value;
      }
      if (System.nanoTime() > end) {
        throw new AssertionError("still not so after " + DEADLINE + ": " + value);
      }
      Thread.sleep(50);
    }
  }

  static void equal(Object expected, Object got) {
    if (!Objects.deepEquals(expected, got)) {
      throw new AssertionError("expected " + text(expected) + ", got " + text(got));
    }
  }

  private static String text(Object value) {
    String text = Arrays.deepToString(new Object[] {value});
    return text.substring(1, text.length() - 1);
  }

  static void isTrue(boolean holds, String otherwise) {
    if (!holds) {
      throw new AssertionError(otherwise);
    }
  }

  /** Runs what has to fail. */
  static void throwing(Class<? extends Throwable> kind, Body body) {
    try {
      body.run();
    } catch (Throwable thrown) {
      isTrue(kind.isInstance(thrown), "expected " + kind.getSimpleName() + ", got " + thrown);
      return;
    }
    throw new AssertionError("expected " + kind.getSimpleName() + ", got none");
  }

  /** An id that nothing else uses. */
  static String fresh(String prefix) {
    return prefix + "-" + UUID.randomUUID().toString().substring(0, 13);
  }

  private static final Map<String, Check> FEATURES = new LinkedHashMap<>();

  /** Registers the check of one row of features.tsv. */
  static void feature(String name, Check check) {
    FEATURES.put(name, check);
  }

  /** Runs the features, one verdict a line: SDK, feature, pass or fail, detail. */
  static void runAll(String[] only) {
    Map<String, Check> chosen = new LinkedHashMap<>(FEATURES);
    if (only.length > 0) {
      chosen.keySet().retainAll(Arrays.asList(only));
    }
    chosen.forEach(
        (name, check) -> {
          long begun = System.nanoTime();
          String verdict;
          try (var harness = new Harness(setting("taskhub"))) {
            check.run(harness);
            verdict = "pass\t" + Duration.ofNanos(System.nanoTime() - begun).toMillis() + "ms";
          } catch (Throwable problem) {
            problem.printStackTrace();
            String detail = String.valueOf(problem.getMessage()).replaceAll("\\s+", " ");
            verdict = "fail\t" + detail.substring(0, Math.min(detail.length(), 200));
          }
          System.out.println("RESULT\t" + SDK + "\t" + name + "\t" + verdict);
        });
  }
}
