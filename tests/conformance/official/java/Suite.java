import static com.microsoft.durabletask.OrchestrationRuntimeStatus.COMPLETED;
import static com.microsoft.durabletask.OrchestrationRuntimeStatus.FAILED;
import static com.microsoft.durabletask.OrchestrationRuntimeStatus.PENDING;
import static com.microsoft.durabletask.OrchestrationRuntimeStatus.SUSPENDED;
import static com.microsoft.durabletask.OrchestrationRuntimeStatus.TERMINATED;

import com.microsoft.durabletask.NewOrchestrationInstanceOptions;
import com.microsoft.durabletask.OrchestrationStatusQuery;
import com.microsoft.durabletask.PurgeInstanceCriteria;
import com.microsoft.durabletask.RetryPolicy;
import com.microsoft.durabletask.Task;
import com.microsoft.durabletask.TaskCanceledException;
import com.microsoft.durabletask.TaskFailedException;
import com.microsoft.durabletask.TaskOptions;
import com.microsoft.durabletask.TaskOrchestration;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.UnaryOperator;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** The official Java SDK against a scheduler: one method per feature. */
public final class Suite {
  private Suite() {}

  public static void main(String[] only) {
    Harness.feature("chaining", Suite::chaining);
    Harness.feature("fan-out", Suite::fanOut);
    Harness.feature("timers", Suite::timers);
    Harness.feature("external-events", Suite::externalEvents);
    Harness.feature("send-event", Suite::sendEvent);
    Harness.feature("sub-orchestrations", Suite::subOrchestrations);
    Harness.feature("continue-as-new", Suite::continueAsNew);
    Harness.feature("custom-status", Suite::customStatus);
    Harness.feature("retries", Suite::retries);
    Harness.feature("failures", Suite::failures);
    Harness.feature("suspend-resume", Suite::suspendResume);
    Harness.feature("terminate", Suite::terminate);
    Harness.feature("terminate-suspended", Suite::terminateSuspended);
    Harness.feature("untaken", Suite::untaken);
    Harness.feature("purge", Suite::purge);
    Harness.feature("purge-filter", Suite::purgeFilter);
    Harness.feature("query", Suite::query);
    Harness.feature("scheduled-start", Suite::scheduledStart);
    Harness.feature("restart", Suite::restart);
    Harness.feature("large-payloads", Suite::largePayloads);
    Harness.feature("long-history", Suite::longHistory);
    Harness.feature("task-hubs", Suite::taskHubs);
    More.find().features();
    Harness.runAll(only);
    // The SDK leaves threads behind.
    System.exit(0);
  }

  private static final TaskOrchestration WAITER =
      ctx -> ctx.complete(ctx.waitForExternalEvent("go", Integer.class).await());

  private static final TaskOrchestration QUICK =
      ctx -> {
        if ("fail".equals(ctx.getInput(String.class))) {
          throw new IllegalArgumentException("asked to fail");
        }
        ctx.complete(ctx.getInput(String.class));
      };

  static void chaining(Harness h) throws Exception {
    h.worker()
        .orchestration(
            "sequence",
            ctx -> {
              int value = ctx.getInput(int.class);
              for (int n = 0; n < 5; n++) {
                value = ctx.callActivity("addOne", value, int.class).await();
              }
              ctx.complete(value);
            })
        .activity("addOne", ctx -> ctx.getInput(int.class) + 1)
        .during(() -> Harness.equal(15, h.output("sequence", 10, int.class)));
  }

  static void fanOut(Harness h) throws Exception {
    h.worker()
        .orchestration(
            "spread",
            ctx -> {
              List<Task<Integer>> tasks =
                  IntStream.range(0, ctx.getInput(int.class))
                      .mapToObj(n -> ctx.callActivity("square", n, Integer.class))
                      .collect(Collectors.toList());
              int sum = ctx.allOf(tasks).await().stream().mapToInt(Integer::intValue).sum();
              Task<Integer> two = ctx.callActivity("square", 2, Integer.class);
              Task<Integer> three = ctx.callActivity("square", 3, Integer.class);
              Task<?> first = ctx.anyOf(two, three).await();
              ctx.complete(first == two || first == three ? sum : -1);
            })
        .activity("square", ctx -> ctx.getInput(int.class) * ctx.getInput(int.class))
        .during(() -> Harness.equal(40425, h.output("spread", 50, int.class)));
  }

  static void timers(Harness h) throws Exception {
    h.worker()
        .orchestration(
            "sleeper",
            ctx -> {
              Instant before = ctx.getCurrentInstant();
              ctx.createTimer(Duration.ofMillis(ctx.getInput(long.class))).await();
              ctx.complete(Duration.between(before, ctx.getCurrentInstant()).toMillis());
            })
        .during(
            () -> {
              long slept = h.output("sleeper", 1500, long.class);
              Harness.isTrue(slept >= 1500, "slept " + slept + " ms");
              h.output("sleeper", 0, long.class);
            });
  }

  static void externalEvents(Harness h) throws Exception {
    TaskOrchestration collect =
        ctx -> {
          List<Integer> got = new ArrayList<>();
          int count = ctx.getInput(int.class);
          while (got.size() < count) {
            got.add(ctx.waitForExternalEvent("Item", Integer.class).await());
          }
          ctx.complete(got);
        };
    TaskOrchestration impatient =
        ctx -> {
          try {
            ctx.waitForExternalEvent("never", Duration.ofMillis(500), Void.class).await();
            ctx.complete("event");
          } catch (TaskCanceledException timeout) {
            ctx.complete("timeout");
          }
        };
    h.worker()
        .orchestration("collect", collect)
        .orchestration("impatient", impatient)
        .during(
            () -> {
              String instance = h.start("collect", 3);
              for (int n = 0; n < 3; n++) {
                // This SDK compares names exactly where somebody waits already.
                h.client.raiseEvent(instance, "Item", n);
              }
              Harness.equal(new int[] {0, 1, 2}, h.outputOf(instance, int[].class));
              Harness.equal("timeout", h.output("impatient", null, String.class));
            });
    // An event that is raised before the instance has run is kept for it.
    String early = h.start("collect", 1);
    h.client.raiseEvent(early, "Item", 7);
    h.worker()
        .orchestration("collect", collect)
        .during(() -> Harness.equal(new int[] {7}, h.outputOf(early, int[].class)));
  }

  static void sendEvent(Harness h) throws Exception {
    h.worker()
        .orchestration("waiter", WAITER)
        .orchestration(
            "sender",
            ctx -> {
              ctx.sendEvent(ctx.getInput(String.class), "go", 42);
              ctx.complete("sent");
            })
        .during(
            () -> {
              String waiting = h.start("waiter", null);
              h.started(waiting);
              Harness.equal("sent", h.output("sender", waiting, String.class));
              Harness.equal(42, h.outputOf(waiting, int.class));
            });
  }

  static void subOrchestrations(Harness h) throws Exception {
    h.worker()
        .orchestration(
            "parent",
            ctx -> {
              List<Task<String>> tasks = new ArrayList<>();
              for (String name : ctx.getInput(String[].class)) {
                tasks.add(ctx.callSubOrchestrator("child", name, String.class));
              }
              String id = ctx.getInstanceId() + "-child";
              tasks.add(ctx.callSubOrchestrator("child", "named", id, String.class));
              List<String> got = new ArrayList<>(ctx.allOf(tasks).await());
              try {
                ctx.callSubOrchestrator("broken", null, Void.class).await();
                got.add("the broken child did not fail");
              } catch (TaskFailedException error) {
                got.add(error.getErrorDetails().getErrorMessage());
              }
              ctx.complete(got);
            })
        .orchestration(
            "child",
            ctx ->
                ctx.complete(
                    ctx.callActivity("greet", ctx.getInput(String.class), String.class).await()))
        .orchestration(
            "broken",
            ctx -> {
              throw new IllegalStateException("this child fails");
            })
        .activity("greet", ctx -> "Hello, " + ctx.getInput(String.class) + "!")
        .during(
            () -> {
              String id = h.start("parent", new String[] {"a", "b"}, Harness.fresh("parent"));
              String[] got = h.outputOf(id, String[].class);
              String[] expected = {"Hello, a!", "Hello, b!", "Hello, named!"};
              Harness.equal(expected, Arrays.copyOf(got, 3));
              Harness.isTrue(got[3].contains("this child fails"), got[3]);
              Harness.equal(COMPLETED, h.get(id + "-child").getRuntimeStatus());
            });
  }

  static void continueAsNew(Harness h) throws Exception {
    h.worker()
        .orchestration(
            "counter",
            ctx -> {
              int n = ctx.getInput(int.class);
              ctx.callActivity("echo", n, int.class).await();
              if (n < 20) {
                ctx.continueAsNew(n + 1);
              }
              ctx.complete(n);
            })
        .activity("echo", ctx -> ctx.getInput(int.class))
        .during(() -> Harness.equal(20, h.output("counter", 1, int.class)));
  }

  static void customStatus(Harness h) throws Exception {
    h.worker()
        .orchestration(
            "reporter",
            ctx -> {
              ctx.setCustomStatus("one");
              ctx.waitForExternalEvent("go").await();
              ctx.setCustomStatus("two");
              ctx.complete(null);
            })
        .during(
            () -> {
              String instance = h.start("reporter", null);
              Harness.until(
                  () -> h.get(instance),
                  state ->
                      state.isCustomStatusFetched()
                          && "one".equals(state.readCustomStatusAs(String.class)));
              h.client.raiseEvent(instance, "go");
              Harness.equal("two", h.end(instance).readCustomStatusAs(String.class));
            });
  }

  static void retries(Harness h) throws Exception {
    TaskOptions thrice =
        new TaskOptions(new RetryPolicy(3, Duration.ofMillis(100)).setBackoffCoefficient(2));
    Map<String, Integer> calls = new ConcurrentHashMap<>();
    UnaryOperator<String> flaky =
        key -> {
          int call = calls.merge(key, 1, Integer::sum);
          if (key.equals("never") || call < 3) {
            throw new IllegalStateException("attempt " + call);
          }
          return "attempt " + call;
        };
    h.worker()
        .orchestration(
            "caller",
            ctx -> {
              String key = ctx.getInput(String.class);
              ctx.complete(ctx.callActivity("flaky", key, thrice, String.class).await());
            })
        .orchestration(
            "parent",
            ctx -> {
              String key = ctx.getInput(String.class);
              ctx.complete(ctx.callSubOrchestrator("child", key, null, thrice, String.class).await());
            })
        .orchestration("child", ctx -> ctx.complete(flaky.apply(ctx.getInput(String.class))))
        .activity("flaky", ctx -> flaky.apply(ctx.getInput(String.class)))
        .during(
            () -> {
              Harness.equal("attempt 3", h.output("caller", "third", String.class));
              Harness.equal("attempt 3", h.output("parent", "child", String.class));
              var state = h.end(h.start("caller", "never"));
              Harness.equal(FAILED, state.getRuntimeStatus());
              String message = state.getFailureDetails().getErrorMessage();
              Harness.isTrue(message.contains("attempt 3"), message);
              Harness.equal(Map.of("third", 3, "child", 3, "never", 3), calls);
            });
  }

  static void failures(Harness h) throws Exception {
    h.worker()
        .orchestration("fails", ctx -> ctx.callActivity("thrower").await())
        .orchestration("unknown", ctx -> ctx.callActivity("nobody registered this").await())
        .activity(
            "thrower",
            ctx -> {
              throw new IllegalStateException("no such thing");
            })
        .during(
            () -> {
              var state = h.end(h.start("fails", null));
              Harness.equal(FAILED, state.getRuntimeStatus());
              String message = state.getFailureDetails().getErrorMessage();
              Harness.isTrue(message.contains("no such thing"), message);
              Harness.isTrue(!state.getFailureDetails().getStackTrace().isEmpty(), "no stack trace");
              for (String name : new String[] {"unknown", "nobody registered this either"}) {
                Harness.equal(FAILED, h.end(h.start(name, null)).getRuntimeStatus());
              }
            });
  }

  static void suspendResume(Harness h) throws Exception {
    h.worker()
        .orchestration("waiter", WAITER)
        .during(
            () -> {
              String instance = h.start("waiter", null);
              h.started(instance);
              h.client.suspendInstance(instance, "hold on");
              h.untilStatus(instance, SUSPENDED);
              h.client.suspendInstance(instance);
              h.client.raiseEvent(instance, "go", 7);
              h.staysOpen(instance);
              Harness.equal(SUSPENDED, h.get(instance).getRuntimeStatus());
              h.client.resumeInstance(instance, "go on");
              Harness.equal(7, h.outputOf(instance, int.class));
            });
  }

  static void terminate(Harness h) throws Exception {
    h.worker()
        .orchestration("waiter", WAITER)
        .during(
            () -> {
              String instance = h.start("waiter", null);
              h.started(instance);
              h.client.terminate(instance, "enough");
              var state = h.end(instance);
              Harness.equal(TERMINATED, state.getRuntimeStatus());
              Harness.equal("enough", state.readOutputAs(String.class));
            });
  }

  static void terminateSuspended(Harness h) throws Exception {
    h.worker()
        .orchestration("waiter", WAITER)
        .during(
            () -> {
              String instance = h.start("waiter", null);
              h.started(instance);
              h.client.suspendInstance(instance);
              h.untilStatus(instance, SUSPENDED);
              h.client.terminate(instance, null);
              Harness.equal(TERMINATED, h.end(instance).getRuntimeStatus());
            });
  }

  static void untaken(Harness h) throws Exception {
    String instance = h.start("nobody has this", null);
    h.client.suspendInstance(instance);
    h.untilStatus(instance, SUSPENDED);
    h.client.resumeInstance(instance);
    h.untilStatus(instance, PENDING);
    h.client.terminate(instance, "enough");
    Harness.equal(TERMINATED, h.end(instance).getRuntimeStatus());
    Harness.equal(1, h.client.purgeInstance(instance).getDeletedInstanceCount());
  }

  static void purge(Harness h) throws Exception {
    h.worker()
        .orchestration("waiter", WAITER)
        .during(
            () -> {
              String instance = h.start("waiter", null);
              h.started(instance);
              Harness.equal(0, h.client.purgeInstance(instance).getDeletedInstanceCount());
              h.client.raiseEvent(instance, "go", 1);
              h.end(instance);
              Harness.equal(1, h.client.purgeInstance(instance).getDeletedInstanceCount());
              Harness.isTrue(!h.exists(instance), "it is still there");
              Harness.equal(0, h.client.purgeInstance(instance).getDeletedInstanceCount());
            });
  }

  static void purgeFilter(Harness h) throws Exception {
    h.worker()
        .orchestration("quick", QUICK)
        .during(
            () -> {
              Instant begun = Instant.now();
              List<String> all = new ArrayList<>();
              for (String input : new String[] {"a", "b", "fail", "c", "fail"}) {
                all.add(h.start("quick", input));
              }
              for (String instance : all) {
                h.end(instance);
              }
              var criteria =
                  new PurgeInstanceCriteria()
                      .setCreatedTimeFrom(begun)
                      .setCreatedTimeTo(Instant.now().plusSeconds(1))
                      .setRuntimeStatusList(List.of(FAILED));
              Harness.equal(2, h.client.purgeInstances(criteria).getDeletedInstanceCount());
              Harness.isTrue(h.exists(all.get(0)), "a completed instance is gone");
              Harness.isTrue(!h.exists(all.get(2)), "a failed instance is still there");
              criteria.setRuntimeStatusList(List.of());
              Harness.equal(3, h.client.purgeInstances(criteria).getDeletedInstanceCount());
            });
  }

  static void query(Harness h) throws Exception {
    String prefix = Harness.fresh("query");
    h.worker()
        .orchestration("quick", QUICK)
        .during(
            () -> {
              Instant begun = Instant.now();
              List<String> all = List.of("0", "1", "2", "3", "4", "5", "bad");
              for (String name : all) {
                h.start("quick", name.equals("bad") ? "fail" : "v" + name, prefix + "-" + name);
              }
              for (String name : all) {
                h.end(prefix + "-" + name);
              }
              Harness.equal(all, found(h, prefix, query -> query));
              Harness.equal(all, found(h, prefix, query -> query.setMaxInstanceCount(2)));
              Harness.equal(
                  List.of("bad"),
                  found(h, prefix, query -> query.setRuntimeStatusList(List.of(FAILED))));
              Harness.equal(all, found(h, prefix, query -> query.setCreatedTimeFrom(begun)));
              Harness.equal(List.of(), found(h, prefix, query -> query.setCreatedTimeTo(begun)));
              var one =
                  new OrchestrationStatusQuery()
                      .setInstanceIdPrefix(prefix + "-3")
                      .setFetchInputsAndOutputs(true);
              var states = h.client.queryInstances(one).getOrchestrationState();
              Harness.equal("v3", states.get(0).readOutputAs(String.class));
            });
  }

  /** What a query finds, page by page: the ids without the prefix, sorted. */
  private static List<String> found(
      Harness h, String prefix, UnaryOperator<OrchestrationStatusQuery> change) {
    List<String> ids = new ArrayList<>();
    String token = null;
    do {
      var query = new OrchestrationStatusQuery().setInstanceIdPrefix(prefix);
      var page = h.client.queryInstances(change.apply(query).setContinuationToken(token));
      for (var state : page.getOrchestrationState()) {
        ids.add(state.getInstanceId().substring(prefix.length() + 1));
      }
      token = page.getContinuationToken();
    } while (token != null && !token.isEmpty());
    ids.sort(null);
    return ids;
  }

  static void scheduledStart(Harness h) throws Exception {
    h.worker()
        .orchestration("quick", QUICK)
        .during(
            () -> {
              Instant due = Instant.now().plusSeconds(2);
              var options = new NewOrchestrationInstanceOptions().setInput("ran").setStartTime(due);
              String instance = h.client.scheduleNewOrchestrationInstance("quick", options);
              Harness.equal(PENDING, h.get(instance).getRuntimeStatus());
              Harness.equal("ran", h.outputOf(instance, String.class));
              Instant ended = h.get(instance).getLastUpdatedAt();
              Harness.isTrue(!ended.isBefore(due), "it ran at " + ended + ", before " + due);
            });
  }

  static void restart(Harness h) throws Exception {
    h.worker()
        .orchestration("doubled", ctx -> ctx.complete(ctx.getInput(int.class) * 2))
        .during(
            () -> {
              String instance = h.start("doubled", 21);
              h.end(instance);
              String again = h.client.restartInstance(instance, true);
              Harness.isTrue(!again.equals(instance), "it kept the id");
              Harness.equal(42, h.outputOf(again, int.class));
              Harness.equal(instance, h.client.restartInstance(instance, false));
              Harness.equal(42, h.outputOf(instance, int.class));
            });
  }

  static void largePayloads(Harness h) throws Exception {
    h.worker()
        .orchestration(
            "carry",
            ctx ->
                ctx.complete(
                    ctx.callActivity("echo", ctx.getInput(String.class), String.class).await()))
        .activity("echo", ctx -> ctx.getInput(String.class))
        .during(
            () -> {
              String big = "x".repeat(1_000_000);
              boolean same = big.equals(h.output("carry", big, String.class));
              Harness.isTrue(same, "the payload changed on the way");
            });
  }

  static void longHistory(Harness h) throws Exception {
    h.worker()
        .orchestration(
            "many",
            ctx -> {
              int total = 0;
              int count = ctx.getInput(int.class);
              for (int n = 0; n < count; n++) {
                total += ctx.callActivity("echo", n, int.class).await();
              }
              ctx.complete(total);
            })
        .activity("echo", ctx -> ctx.getInput(int.class))
        .during(() -> Harness.equal(44850, h.output("many", 300, int.class)));
  }

  static void taskHubs(Harness h) throws Exception {
    String instance = Harness.fresh("same-id");
    for (String hub : new String[] {Harness.fresh("hub-a"), Harness.fresh("hub-b")}) {
      try (var other = new Harness(hub)) {
        other
            .worker()
            .orchestration("quick", QUICK)
            .during(
                () -> {
                  other.start("quick", hub, instance);
                  Harness.equal(hub, other.outputOf(instance, String.class));
                  var all = other.client.queryInstances(new OrchestrationStatusQuery());
                  Harness.equal(1, all.getOrchestrationState().size());
                });
      }
    }
    Harness.isTrue(!h.exists(instance), "the hubs are not apart");
  }
}
