import com.microsoft.durabletask.OrchestrationStatusQuery;
import java.time.Duration;

/** Each call of the Java SDK with nothing but what it must be given, for the recorder. */
public final class Defaults {
  private Defaults() {}

  public static void main(String[] arguments) throws Exception {
    try (var h = new Harness(Harness.setting("taskhub"))) {
      var parts =
          h.worker()
              .orchestration("child", ctx -> {})
              .orchestration("waits", ctx -> ctx.waitForExternalEvent("go").await())
              .orchestration(
                  "fails",
                  ctx -> {
                    throw new IllegalStateException("asked to fail");
                  })
              .orchestration(
                  "once",
                  ctx -> {
                    if (ctx.getInput(Integer.class) == null) {
                      ctx.continueAsNew(1);
                    }
                  })
              .orchestration(
                  "everything",
                  ctx -> {
                    ctx.callActivity("act").await();
                    ctx.callSubOrchestrator("child", null, Void.class).await();
                    ctx.createTimer(Duration.ofMillis(1)).await();
                    ctx.sendEvent("nobody", "go");
                    MORE.calls(ctx);
                    ctx.complete(null);
                  })
              .activity("act", ctx -> null);
      MORE.registers(parts);
      parts.during(() -> calls(h));
    } catch (Exception problem) {
      problem.printStackTrace();
    }
    // The SDK leaves threads behind.
    System.exit(0);
  }

  /** What only newer versions have. */
  private static final More MORE = More.find();

  private static void calls(Harness h) throws Exception {
    var c = h.client;
    String first = c.scheduleNewOrchestrationInstance("waits");
    c.waitForInstanceStart(first, Harness.DEADLINE);
    c.getInstanceMetadata(first, false);
    c.suspendInstance(first);
    c.resumeInstance(first);
    c.raiseEvent(first, "go");
    c.waitForInstanceCompletion(first, Harness.DEADLINE, false);
    for (String name : new String[] {"everything", "once"}) {
      h.end(c.scheduleNewOrchestrationInstance(name));
    }
    c.queryInstances(new OrchestrationStatusQuery());
    c.restartInstance(first, false);
    String failed = c.scheduleNewOrchestrationInstance("fails");
    h.end(failed);
    MORE.calls(h, failed);
    c.terminate(first, null);
    h.end(first);
    c.purgeInstance(first);
  }
}
