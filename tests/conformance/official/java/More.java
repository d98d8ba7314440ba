import com.microsoft.durabletask.TaskOrchestrationContext;

/** What only newer versions of the SDK have; nothing of it here. */
class More {
  /** `MoreOfNewer` where it was compiled, which needs a newer version. */
  static More find() {
    try {
      return (More) Class.forName("MoreOfNewer").getDeclaredConstructor().newInstance();
    } catch (ReflectiveOperationException none) {
      return new More();
    }
  }

  /** Calls of an orchestration. */
  void calls(TaskOrchestrationContext ctx) {}

  /** Calls of a client; `failed` is an instance that has failed. */
  void calls(Harness h, String failed) throws Exception {}

  /** What a worker has to serve for them. */
  void registers(Harness.Parts parts) {}

  /** Features of the suite. */
  void features() {}
}
