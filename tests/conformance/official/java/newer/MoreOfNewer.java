import com.microsoft.durabletask.AbstractTaskEntity;
import com.microsoft.durabletask.CleanEntityStorageRequest;
import com.microsoft.durabletask.DurableTaskGrpcWorkerVersioningOptions;
import com.microsoft.durabletask.DurableTaskGrpcWorkerVersioningOptions.VersionFailureStrategy;
import com.microsoft.durabletask.DurableTaskGrpcWorkerVersioningOptions.VersionMatchStrategy;
import com.microsoft.durabletask.EntityInstanceId;
import com.microsoft.durabletask.EntityMetadata;
import com.microsoft.durabletask.EntityOperationFailedException;
import com.microsoft.durabletask.EntityQuery;
import com.microsoft.durabletask.ListInstanceIdsQuery;
import com.microsoft.durabletask.NewOrchestrationInstanceOptions;
import com.microsoft.durabletask.OrchestrationRuntimeStatus;
import com.microsoft.durabletask.SignalEntityOptions;
import com.microsoft.durabletask.TaskEntityOperation;
import com.microsoft.durabletask.TaskOrchestrationContext;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;

/** What version 1.9 and later commits have: entities, ids, histories, versions, filters. */
final class MoreOfNewer extends More {
  static final EntityInstanceId COUNTER = new EntityInstanceId("counter", "k");

  /** Adds up. */
  public static final class Counter extends AbstractTaskEntity<Integer> {
    @Override
    protected Integer initializeState(TaskEntityOperation operation) {
      return 0;
    }

    @Override
    protected Class<Integer> getStateType() {
      return Integer.class;
    }

    public int add(int value) {
      state += value;
      return state;
    }

    public int get() {
      return state;
    }

    public void fail() {
      state = -1;
      throw new IllegalStateException("an operation that fails");
    }

    public void forward(String key) {
      context.signalEntity(new EntityInstanceId("counter", key), "add", 100);
    }

    public void begin(String instance) {
      var options = new NewOrchestrationInstanceOptions().setInstanceId(instance);
      context.startNewOrchestration("begun", null, options);
    }

    /** For the recorder. */
    public int bare() {
      context.signalEntity(new EntityInstanceId("other", "k"), "get");
      context.startNewOrchestration("child", null);
      return 1;
    }
  }

  @Override
  void registers(Harness.Parts parts) {
    parts.builder.addEntity("counter", Counter.class);
    parts.builder.addEntity("other", Counter.class);
  }

  @Override
  void calls(TaskOrchestrationContext ctx) {
    ctx.signalEntity(COUNTER, "bare");
    ctx.callEntity(COUNTER, "bare").await();
    release(ctx.lockEntities(List.of(COUNTER)).await());
  }

  private static void release(AutoCloseable lock) {
    try {
      lock.close();
    } catch (Exception problem) {
      throw new IllegalStateException(problem);
    }
  }

  @Override
  void calls(Harness h, String failed) throws Exception {
    var c = h.client;
    c.listInstanceIds(new ListInstanceIdsQuery());
    c.getOrchestrationHistory(failed);
    try {
      c.rewindInstance(failed);
    } catch (RuntimeException refused) {
      System.err.println(refused);
    }
    c.signalEntity(COUNTER, "get");
    c.getEntityMetadata(COUNTER);
    c.queryEntities(new EntityQuery());
    c.cleanEntityStorage(new CleanEntityStorageRequest());
  }

  @Override
  void features() {
    Harness.feature("continue-as-new-events", MoreOfNewer::continueAsNewEvents);
    Harness.feature("loop-commands", MoreOfNewer::loopCommands);
    Harness.feature("list-ids", MoreOfNewer::listIds);
    Harness.feature("history", MoreOfNewer::history);
    Harness.feature("tags", MoreOfNewer::tags);
    Harness.feature("versioning", MoreOfNewer::versioning);
    Harness.feature("filters", MoreOfNewer::filters);
    Harness.feature("entity-signal", MoreOfNewer::entitySignal);
    Harness.feature("entity-delayed-signal", MoreOfNewer::entityDelayedSignal);
    Harness.feature("entity-call", MoreOfNewer::entityCall);
    Harness.feature("entity-locks", MoreOfNewer::entityLocks);
    Harness.feature("entity-query", MoreOfNewer::entityQuery);
  }

  private static Harness.Parts entities(Harness h) {
    var parts = h.worker();
    parts.builder.addEntity("counter", Counter.class);
    return parts;
  }

  private static EntityInstanceId counter(String key) {
    return new EntityInstanceId("counter", key);
  }

  private static void untilState(Harness h, EntityInstanceId entity, int wanted) throws Exception {
    Harness.until(
        () -> h.client.getEntityMetadata(entity, true),
        found -> found != null && found.readStateAs(Integer.class) == wanted);
  }

  /** Collects three events, one in each generation. */
  private static Harness.Parts gatherer(Harness h) {
    return h.worker()
        .orchestration(
            "gatherer",
            ctx -> {
              List<Integer> got = new ArrayList<>(List.of(ctx.getInput(Integer[].class)));
              got.add(ctx.waitForExternalEvent("item", Integer.class).await());
              if (got.size() < 3) {
                ctx.continueAsNew(got, true);
              } else {
                ctx.complete(got);
              }
            });
  }

  static void continueAsNewEvents(Harness h) throws Exception {
    String[] instance = new String[1];
    gatherer(h)
        .during(
            () -> {
              instance[0] = h.start("gatherer", List.of());
              h.started(instance[0]);
            });
    for (int n = 1; n < 4; n++) {
      h.client.raiseEvent(instance[0], "item", n);
    }
    gatherer(h)
        .during(
            () -> {
              Integer[] wanted = {1, 2, 3};
              Harness.equal(wanted, h.outputOf(instance[0], Integer[].class));
            });
  }

  static void loopCommands(Harness h) throws Exception {
    String[] instance = new String[1];
    gatherer(h)
        .during(
            () -> {
              instance[0] = h.start("gatherer", List.of());
              h.started(instance[0]);
            });
    h.client.raiseEvent(instance[0], "item", 1);
    h.client.suspendInstance(instance[0]);
    h.client.raiseEvent(instance[0], "item", 2);
    h.client.raiseEvent(instance[0], "item", 3);
    gatherer(h)
        .orchestration(
            "busy",
            ctx -> {
              ctx.waitForExternalEvent("item", Integer.class).await();
              ctx.continueAsNew(ctx.getInput(int.class) + 1, true);
            })
        .during(
            () -> {
              Harness.until(
                  () -> h.get(instance[0]), state -> "[1]".equals(state.getSerializedInput()));
              Harness.equal(
                  OrchestrationRuntimeStatus.SUSPENDED, h.get(instance[0]).getRuntimeStatus());
              h.client.resumeInstance(instance[0]);
              Integer[] wanted = {1, 2, 3};
              Harness.equal(wanted, h.outputOf(instance[0], Integer[].class));
              var loops = new ArrayList<String>();
              for (int n = 0; n < 10; n++) {
                loops.add(h.start("busy", 0));
              }
              for (String loop : loops) {
                for (int n = 0; n < 10; n++) {
                  h.client.raiseEvent(loop, "item", n);
                }
                h.client.terminate(loop, "enough");
              }
              for (String loop : loops) {
                var state = h.end(loop);
                Harness.equal(OrchestrationRuntimeStatus.TERMINATED, state.getRuntimeStatus());
                Harness.equal("enough", state.readOutputAs(String.class));
              }
            });
  }

  static void listIds(Harness h) throws Exception {
    h.worker()
        .orchestration("quick", ctx -> ctx.complete(null))
        .during(
            () -> {
              Instant begun = Instant.now();
              var started = new TreeSet<String>();
              for (int n = 0; n < 5; n++) {
                started.add(h.start("quick", null));
              }
              for (String instance : started) {
                h.end(instance);
              }
              List<String> listed = new ArrayList<>();
              String token = null;
              do {
                var query =
                    new ListInstanceIdsQuery()
                        .setRuntimeStatusList(List.of(OrchestrationRuntimeStatus.COMPLETED))
                        .setCompletedTimeFrom(begun)
                        .setPageSize(2)
                        .setContinuationToken(token);
                var page = h.client.listInstanceIds(query);
                Harness.isTrue(page.getInstanceIds().size() <= 2, "the page is too long");
                listed.addAll(page.getInstanceIds());
                token = page.getContinuationToken();
              } while (token != null && !token.isEmpty());
              Harness.equal(5, listed.size());
              Harness.equal(started, new TreeSet<>(listed));
            });
  }

  private static List<String> kinds(Harness h, String instance) {
    return h.client.getOrchestrationHistory(instance).stream()
        .map(event -> event.getClass().getSimpleName())
        .collect(Collectors.toList());
  }

  static void history(Harness h) throws Exception {
    h.worker()
        .orchestration(
            "one", ctx -> ctx.complete(ctx.callActivity("echo", 1, Integer.class).await()))
        .activity("echo", ctx -> ctx.getInput(Integer.class))
        .during(
            () -> {
              String instance = h.start("one", null);
              h.end(instance);
              var wanted =
                  List.of(
                      "ExecutionStartedEvent",
                      "TaskScheduledEvent",
                      "TaskCompletedEvent",
                      "ExecutionCompletedEvent");
              var found = kinds(h, instance);
              found.retainAll(wanted);
              Harness.equal(wanted, found);
            });
  }

  static void tags(Harness h) throws Exception {
    h.worker()
        .orchestration("quick", ctx -> ctx.complete(null))
        .during(
            () -> {
              var wanted = Map.of("team", "a", "ünï", "cödé");
              var options = new NewOrchestrationInstanceOptions().setTags(wanted);
              String instance = h.client.scheduleNewOrchestrationInstance("quick", options);
              Harness.equal(wanted, h.end(instance).getTags());
            });
  }

  private static Harness.Parts versioned(
      Harness h, String version, VersionMatchStrategy match, VersionFailureStrategy failure) {
    var parts = h.worker().orchestration("versioned", ctx -> ctx.complete(ctx.getVersion()));
    parts.builder.useVersioning(
        new DurableTaskGrpcWorkerVersioningOptions(version, version, match, failure));
    return parts;
  }

  private static String start(Harness h, String version) {
    var options = new NewOrchestrationInstanceOptions().setVersion(version);
    return h.client.scheduleNewOrchestrationInstance("versioned", options);
  }

  static void versioning(Harness h) throws Exception {
    var older = VersionMatchStrategy.CURRENTOROLDER;
    var strict = VersionMatchStrategy.STRICT;
    versioned(h, "1.2.0", older, VersionFailureStrategy.FAIL)
        .during(
            () -> {
              for (String version : List.of("1.2.0", "1.1.0")) {
                Harness.equal(version, h.outputOf(start(h, version), String.class));
              }
              var state = h.end(start(h, "1.3.0"));
              Harness.equal(OrchestrationRuntimeStatus.FAILED, state.getRuntimeStatus());
              Harness.equal("VersionMismatch", state.getFailureDetails().getErrorType());
            });
    String[] rejected = new String[1];
    versioned(h, "1", strict, VersionFailureStrategy.REJECT)
        .during(
            () -> {
              rejected[0] = start(h, "2");
              h.staysOpen(rejected[0]);
            });
    versioned(h, "2", strict, VersionFailureStrategy.FAIL)
        .during(() -> Harness.equal("2", h.outputOf(rejected[0], String.class)));
  }

  static void filters(Harness h) throws Exception {
    var left =
        h.worker()
            .orchestration(
                "left",
                ctx -> ctx.complete(ctx.callActivity("on the right", String.class).await()));
    left.builder.useWorkItemFilters();
    var right = h.worker().activity("on the right", ctx -> "right");
    right.builder.useWorkItemFilters();
    left.during(
        () -> {
          String instance = h.start("left", null);
          String other = h.start("of nobody here", null);
          h.started(instance);
          h.staysOpen(instance);
          right.during(() -> Harness.equal("right", h.outputOf(instance, String.class)));
          Harness.equal(OrchestrationRuntimeStatus.PENDING, h.get(other).getRuntimeStatus());
          h.client.terminate(other, null);
        });
  }

  static void entitySignal(Harness h) throws Exception {
    var parts = entities(h).orchestration("begun", ctx -> ctx.complete(null));
    parts.during(
        () -> {
          var one = counter(Harness.fresh("one"));
          var two = counter(Harness.fresh("two"));
          for (int n = 1; n < 5; n++) {
            h.client.signalEntity(one, "add", n);
          }
          untilState(h, one, 10);
          h.client.signalEntity(one, "forward", two.getKey());
          untilState(h, two, 100);
          // A failed operation is rolled back and leaves the others alone.
          h.client.signalEntity(one, "fail");
          h.client.signalEntity(one, "add", 1);
          untilState(h, one, 11);
          String begun = Harness.fresh("begun");
          h.client.signalEntity(one, "begin", begun);
          h.untilStatus(begun, OrchestrationRuntimeStatus.COMPLETED);
        });
  }

  static void entityDelayedSignal(Harness h) throws Exception {
    entities(h)
        .during(
            () -> {
              var entity = counter(Harness.fresh("later"));
              Instant due = Instant.now().plus(Duration.ofSeconds(2));
              var later = new SignalEntityOptions().setScheduledTime(due);
              h.client.signalEntity(entity, "add", 5, later);
              untilState(h, entity, 5);
              Harness.isTrue(!Instant.now().isBefore(due), "the signal came too early");
            });
  }

  static void entityCall(Harness h) throws Exception {
    entities(h)
        .orchestration(
            "caller",
            ctx -> {
              var entity = counter(ctx.getInput(String.class));
              ctx.signalEntity(entity, "add", 1);
              ctx.callEntity(entity, "add", 2, Integer.class).await();
              int total = ctx.callEntity(entity, "get", null, Integer.class).await();
              try {
                ctx.callEntity(entity, "fail").await();
              } catch (EntityOperationFailedException failed) {
                int after = ctx.callEntity(entity, "get", null, Integer.class).await();
                ctx.complete(total + " " + after + " " + failed.getMessage());
              }
            })
        .during(
            () -> {
              String said = h.output("caller", Harness.fresh("called"), String.class);
              Harness.isTrue(said.startsWith("3 3 "), said);
              Harness.isTrue(said.contains("an operation that fails"), said);
            });
  }

  static void entityLocks(Harness h) throws Exception {
    entities(h)
        .orchestration(
            "transfer",
            ctx -> {
              String[] keys = ctx.getInput(String[].class);
              var left = counter(keys[0]);
              var right = counter(keys[1]);
              AutoCloseable lock = ctx.lockEntities(List.of(left, right)).await();
              int first = ctx.callEntity(left, "get", null, Integer.class).await();
              ctx.createTimer(Duration.ofMillis(100)).await();
              ctx.callEntity(left, "add", 1, Integer.class).await();
              int second = ctx.callEntity(left, "get", null, Integer.class).await();
              ctx.callEntity(right, "add", 1, Integer.class).await();
              release(lock);
              ctx.complete(second - first);
            })
        .during(
            () -> {
              String left = Harness.fresh("left");
              String right = Harness.fresh("right");
              var runs = new ArrayList<String>();
              for (int n = 0; n < 6; n++) {
                // Opposite orders would deadlock if locks were not taken in one order.
                String[] keys = n % 2 == 0 ? new String[] {left, right} : new String[] {right, left};
                runs.add(h.start("transfer", keys));
              }
              for (String run : runs) {
                Harness.equal(1, h.outputOf(run, Integer.class));
              }
              untilState(h, counter(left), 6);
              untilState(h, counter(right), 6);
            });
  }

  static void entityQuery(Harness h) throws Exception {
    entities(h)
        .during(
            () -> {
              String prefix = Harness.fresh("q");
              var ids = new TreeSet<String>();
              for (int n = 0; n < 5; n++) {
                var entity = counter(prefix + "-" + n);
                ids.add(entity.toString());
                h.client.signalEntity(entity, "add", n);
                untilState(h, entity, n);
              }
              for (Integer size : new Integer[] {100, 2}) {
                var found = new TreeSet<String>();
                int sum = 0;
                var query =
                    new EntityQuery()
                        .setInstanceIdStartsWith("@counter@" + prefix)
                        .setIncludeState(true)
                        .setPageSize(size);
                for (EntityMetadata entity : h.client.getAllEntities(query)) {
                  found.add(entity.getEntityInstanceId().toString());
                  sum += entity.readStateAs(Integer.class);
                }
                Harness.equal(ids, found);
                Harness.equal(10, sum);
              }
              var first = counter(prefix + "-0");
              h.client.signalEntity(first, "delete");
              Harness.until(() -> h.client.getEntityMetadata(first), gone -> gone == null);
              h.client.cleanEntityStorage(new CleanEntityStorageRequest());
            });
  }
}
