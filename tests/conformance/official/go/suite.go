// The official Go SDK against a scheduler: one function per feature.
package main

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/microsoft/durabletask-go/api"
	"github.com/microsoft/durabletask-go/task"
)

var features = []feature{
	{"chaining", chaining},
	{"fan-out", fanOut},
	{"timers", timers},
	{"external-events", externalEvents},
	{"sub-orchestrations", subOrchestrations},
	{"continue-as-new", continueAsNew},
	{"continue-as-new-events", continueAsNewEvents},
	{"custom-status", customStatus},
	{"retries", retries},
	{"failures", failures},
	{"suspend-resume", suspendResume},
	{"terminate", terminate},
	{"terminate-suspended", terminateSuspended},
	{"untaken", untaken},
	{"loop-commands", loopCommands},
	{"terminate-recursive", terminateRecursive},
	{"purge", purge},
	{"purge-recursive", purgeRecursive},
	{"scheduled-start", scheduledStart},
	{"id-reuse", idReuse},
	{"large-payloads", largePayloads},
	{"long-history", longHistory},
}

func echo(ctx task.ActivityContext) (any, error) {
	var value any
	err := ctx.GetInput(&value)
	return value, err
}

func greet(ctx task.ActivityContext) (any, error) {
	var name string
	err := ctx.GetInput(&name)
	return fmt.Sprintf("Hello, %s!", name), err
}

func waiter(ctx *task.OrchestrationContext) (any, error) {
	var value any
	err := ctx.WaitForSingleEvent("go", -1).Await(&value)
	return value, err
}

// family is a chain of sub-orchestrations whose last one waits for an event.
func family(ctx *task.OrchestrationContext) (any, error) {
	var depth int
	if err := ctx.GetInput(&depth); err != nil {
		return nil, err
	}
	if depth == 0 {
		return nil, ctx.WaitForSingleEvent("go", -1).Await(nil)
	}
	return nil, ctx.CallSubOrchestrator("family",
		task.WithSubOrchestratorInput(depth-1),
		task.WithSubOrchestrationInstanceID(string(ctx.ID)+"+")).Await(nil)
}

func chaining(h *harness) {
	sequence := func(ctx *task.OrchestrationContext) (any, error) {
		var value int
		err := ctx.GetInput(&value)
		for n := 0; n < 5 && err == nil; n++ {
			err = ctx.CallActivity("addOne", task.WithActivityInput(value)).Await(&value)
		}
		return value, err
	}
	addOne := func(ctx task.ActivityContext) (any, error) {
		var value int
		err := ctx.GetInput(&value)
		return value + 1, err
	}
	h.worker(orchestrators{"sequence": sequence}, activities{"addOne": addOne}, func() {
		equal(output[int](h, "sequence", 10), 15)
	})
}

func fanOut(h *harness) {
	spread := func(ctx *task.OrchestrationContext) (any, error) {
		var count int
		if err := ctx.GetInput(&count); err != nil {
			return nil, err
		}
		tasks := make([]task.Task, count)
		for n := range tasks {
			tasks[n] = ctx.CallActivity("square", task.WithActivityInput(n))
		}
		sum := 0
		for _, each := range tasks {
			var value int
			if err := each.Await(&value); err != nil {
				return nil, err
			}
			sum += value
		}
		return sum, nil
	}
	square := func(ctx task.ActivityContext) (any, error) {
		var value int
		err := ctx.GetInput(&value)
		return value * value, err
	}
	h.worker(orchestrators{"spread": spread}, activities{"square": square}, func() {
		equal(output[int](h, "spread", 50), 40425)
	})
}

func timers(h *harness) {
	sleeper := func(ctx *task.OrchestrationContext) (any, error) {
		var milliseconds int64
		if err := ctx.GetInput(&milliseconds); err != nil {
			return nil, err
		}
		before := ctx.CurrentTimeUtc
		err := ctx.CreateTimer(time.Duration(milliseconds) * time.Millisecond).Await(nil)
		return ctx.CurrentTimeUtc.Sub(before).Milliseconds(), err
	}
	h.worker(orchestrators{"sleeper": sleeper}, nil, func() {
		if slept := output[int64](h, "sleeper", 1500); slept < 1500 {
			fail("slept %d ms", slept)
		}
		output[int64](h, "sleeper", 0)
	})
}

func externalEvents(h *harness) {
	collect := func(ctx *task.OrchestrationContext) (any, error) {
		var count int
		if err := ctx.GetInput(&count); err != nil {
			return nil, err
		}
		got := make([]int, count)
		for n := range got {
			if err := ctx.WaitForSingleEvent("Item", -1).Await(&got[n]); err != nil {
				return nil, err
			}
		}
		return got, nil
	}
	impatient := func(ctx *task.OrchestrationContext) (any, error) {
		err := ctx.WaitForSingleEvent("never", 500*time.Millisecond).Await(nil)
		if errors.Is(err, task.ErrTaskCanceled) {
			return "timeout", nil
		}
		return "event", err
	}
	parts := orchestrators{"collect": collect, "impatient": impatient}
	h.worker(parts, nil, func() {
		id := h.start("collect", 3)
		for n := 0; n < 3; n++ {
			// Names of events are compared without regard to case.
			h.raise(id, "item", n)
		}
		equal(outputOf[[]int](h.end(id)), []int{0, 1, 2})
		equal(output[string](h, "impatient", nil), "timeout")
	})
	// An event that is raised before the instance has run is kept for it.
	early := h.start("collect", 1)
	h.raise(early, "Item", 7)
	h.worker(parts, nil, func() {
		equal(outputOf[[]int](h.end(early)), []int{7})
	})
}

func subOrchestrations(h *harness) {
	parent := func(ctx *task.OrchestrationContext) (any, error) {
		var names []string
		if err := ctx.GetInput(&names); err != nil {
			return nil, err
		}
		got := make([]string, len(names)+1)
		tasks := make([]task.Task, len(names))
		for n, name := range names {
			tasks[n] = ctx.CallSubOrchestrator("child", task.WithSubOrchestratorInput(name))
		}
		tasks = append(tasks, ctx.CallSubOrchestrator("child",
			task.WithSubOrchestratorInput("named"),
			task.WithSubOrchestrationInstanceID(string(ctx.ID)+"-child")))
		for n, each := range tasks {
			if err := each.Await(&got[n]); err != nil {
				return nil, err
			}
		}
		err := ctx.CallSubOrchestrator("broken").Await(nil)
		if err == nil {
			return nil, errors.New("the broken child did not fail")
		}
		return append(got, err.Error()), nil
	}
	child := func(ctx *task.OrchestrationContext) (any, error) {
		var name, greeting string
		if err := ctx.GetInput(&name); err != nil {
			return nil, err
		}
		err := ctx.CallActivity("greet", task.WithActivityInput(name)).Await(&greeting)
		return greeting, err
	}
	broken := func(*task.OrchestrationContext) (any, error) {
		return nil, errors.New("this child fails")
	}
	parts := orchestrators{"parent": parent, "child": child, "broken": broken}
	h.worker(parts, activities{"greet": greet}, func() {
		id := fresh("parent")
		got := output[[]string](h, "parent", []string{"a", "b"}, api.WithInstanceID(id))
		equal(got[:3], []string{"Hello, a!", "Hello, b!", "Hello, named!"})
		if !strings.Contains(got[3], "this child fails") {
			fail("the child's failure reads %q", got[3])
		}
		equal(h.get(id+"-child").RuntimeStatus, api.RUNTIME_STATUS_COMPLETED)
	})
}

func continueAsNew(h *harness) {
	counter := func(ctx *task.OrchestrationContext) (any, error) {
		var n int
		if err := ctx.GetInput(&n); err != nil {
			return nil, err
		}
		if err := ctx.CallActivity("echo", task.WithActivityInput(n)).Await(nil); err != nil {
			return nil, err
		}
		if n < 20 {
			ctx.ContinueAsNew(n + 1)
		}
		return n, nil
	}
	h.worker(orchestrators{"counter": counter}, activities{"echo": echo}, func() {
		equal(output[int](h, "counter", 1), 20)
	})
}

func continueAsNewEvents(h *harness) {
	gatherer := func(ctx *task.OrchestrationContext) (any, error) {
		var got []int
		var item int
		if err := ctx.GetInput(&got); err != nil {
			return nil, err
		}
		if err := ctx.WaitForSingleEvent("item", -1).Await(&item); err != nil {
			return nil, err
		}
		got = append(got, item)
		if len(got) < 5 {
			ctx.ContinueAsNew(got, task.WithKeepUnprocessedEvents())
		}
		return got, nil
	}
	h.worker(orchestrators{"gatherer": gatherer}, nil, func() {
		id := h.start("gatherer", []int{})
		for n := 0; n < 5; n++ {
			h.raise(id, "item", n)
		}
		// All five arrive, also those that were there when a generation ended.
		equal(outputOf[[]int](h.end(id)), []int{0, 1, 2, 3, 4})
	})
}

func customStatus(h *harness) {
	reporter := func(ctx *task.OrchestrationContext) (any, error) {
		ctx.SetCustomStatus("one")
		err := ctx.WaitForSingleEvent("go", -1).Await(nil)
		ctx.SetCustomStatus("two")
		return nil, err
	}
	h.worker(orchestrators{"reporter": reporter}, nil, func() {
		id := h.start("reporter", nil)
		until(func() bool { return h.get(id).SerializedCustomStatus == "one" })
		h.raise(id, "go", nil)
		equal(h.end(id).SerializedCustomStatus, "two")
	})
}

func retries(h *harness) {
	policy := &task.RetryPolicy{
		MaxAttempts: 3, InitialRetryInterval: 100 * time.Millisecond, BackoffCoefficient: 2,
	}
	var lock sync.Mutex
	calls := map[string]int{}
	flaky := func(key string) (any, error) {
		lock.Lock()
		defer lock.Unlock()
		calls[key]++
		if key == "never" || calls[key] < 3 {
			return nil, fmt.Errorf("attempt %d", calls[key])
		}
		return calls[key], nil
	}
	activity := func(ctx task.ActivityContext) (any, error) {
		var key string
		if err := ctx.GetInput(&key); err != nil {
			return nil, err
		}
		return flaky(key)
	}
	child := func(ctx *task.OrchestrationContext) (any, error) {
		var key string
		if err := ctx.GetInput(&key); err != nil {
			return nil, err
		}
		return flaky(key)
	}
	caller := func(ctx *task.OrchestrationContext) (any, error) {
		var key string
		var attempts int
		if err := ctx.GetInput(&key); err != nil {
			return nil, err
		}
		err := ctx.CallActivity("flaky", task.WithActivityInput(key),
			task.WithActivityRetryPolicy(policy)).Await(&attempts)
		return attempts, err
	}
	parent := func(ctx *task.OrchestrationContext) (any, error) {
		var key string
		var attempts int
		if err := ctx.GetInput(&key); err != nil {
			return nil, err
		}
		err := ctx.CallSubOrchestrator("child", task.WithSubOrchestratorInput(key),
			task.WithSubOrchestrationRetryPolicy(policy)).Await(&attempts)
		return attempts, err
	}
	parts := orchestrators{"caller": caller, "parent": parent, "child": child}
	h.worker(parts, activities{"flaky": activity}, func() {
		equal(output[int](h, "caller", "third"), 3)
		equal(output[int](h, "parent", "child"), 3)
		equal(h.end(h.start("caller", "never")).RuntimeStatus, api.RUNTIME_STATUS_FAILED)
		equal(calls, map[string]int{"third": 3, "child": 3, "never": 3})
	})
}

func failures(h *harness) {
	caught := func(ctx *task.OrchestrationContext) (any, error) {
		err := ctx.CallActivity("thrower").Await(nil)
		if err == nil {
			return nil, errors.New("the activity did not fail")
		}
		return err.Error(), nil
	}
	fails := func(ctx *task.OrchestrationContext) (any, error) {
		return nil, ctx.CallActivity("thrower").Await(nil)
	}
	unknown := func(ctx *task.OrchestrationContext) (any, error) {
		return nil, ctx.CallActivity("nobody registered this").Await(nil)
	}
	thrower := func(task.ActivityContext) (any, error) {
		return nil, errors.New("no such thing")
	}
	parts := orchestrators{"caught": caught, "fails": fails, "unknown": unknown}
	h.worker(parts, activities{"thrower": thrower}, func() {
		if message := output[string](h, "caught", nil); !strings.Contains(message, "no such thing") {
			fail("the activity's failure reads %q", message)
		}
		for _, name := range []string{"fails", "unknown", "nobody registered this either"} {
			equal(h.end(h.start(name, nil)).RuntimeStatus, api.RUNTIME_STATUS_FAILED)
		}
	})
}

func suspendResume(h *harness) {
	h.worker(orchestrators{"waiter": waiter}, nil, func() {
		id := h.start("waiter", nil)
		h.started(id)
		check(h.client.SuspendOrchestration(h.ctx, id, "hold on"))
		h.untilStatus(id, api.RUNTIME_STATUS_SUSPENDED)
		check(h.client.SuspendOrchestration(h.ctx, id, "again"))
		h.raise(id, "go", 7)
		h.staysOpen(id)
		equal(h.get(id).RuntimeStatus, api.RUNTIME_STATUS_SUSPENDED)
		check(h.client.ResumeOrchestration(h.ctx, id, "go on"))
		equal(outputOf[int](h.end(id)), 7)
	})
}

func terminate(h *harness) {
	h.worker(orchestrators{"waiter": waiter}, nil, func() {
		id := h.start("waiter", nil)
		h.started(id)
		check(h.client.TerminateOrchestration(h.ctx, id, api.WithOutput("enough")))
		state := h.end(id)
		equal(state.RuntimeStatus, api.RUNTIME_STATUS_TERMINATED)
		equal(state.SerializedOutput, `"enough"`)
	})
}

func terminateSuspended(h *harness) {
	h.worker(orchestrators{"waiter": waiter}, nil, func() {
		id := h.start("waiter", nil)
		h.started(id)
		check(h.client.SuspendOrchestration(h.ctx, id, "hold on"))
		h.untilStatus(id, api.RUNTIME_STATUS_SUSPENDED)
		check(h.client.TerminateOrchestration(h.ctx, id))
		equal(h.end(id).RuntimeStatus, api.RUNTIME_STATUS_TERMINATED)
	})
}

func untaken(h *harness) {
	id := h.start("nobody has this", nil)
	for n := 0; n < 2; n++ {
		check(h.client.SuspendOrchestration(h.ctx, id, ""))
		equal(h.get(id).RuntimeStatus, api.RUNTIME_STATUS_SUSPENDED)
		check(h.client.ResumeOrchestration(h.ctx, id, ""))
		equal(h.get(id).RuntimeStatus, api.RUNTIME_STATUS_PENDING)
	}
	check(h.client.TerminateOrchestration(h.ctx, id, api.WithOutput("enough")))
	state := h.end(id)
	equal(state.RuntimeStatus, api.RUNTIME_STATUS_TERMINATED)
	equal(state.SerializedOutput, `"enough"`)
	check(h.client.PurgeOrchestrationState(h.ctx, id))
}

func loopCommands(h *harness) {
	gatherer := func(ctx *task.OrchestrationContext) (any, error) {
		var got []int
		var item int
		if err := ctx.GetInput(&got); err != nil {
			return nil, err
		}
		if err := ctx.WaitForSingleEvent("item", -1).Await(&item); err != nil {
			return nil, err
		}
		got = append(got, item)
		if len(got) < 3 {
			ctx.ContinueAsNew(got, task.WithKeepUnprocessedEvents())
		}
		return got, nil
	}
	busy := func(ctx *task.OrchestrationContext) (any, error) {
		if err := ctx.WaitForSingleEvent("item", -1).Await(nil); err != nil {
			return nil, err
		}
		ctx.ContinueAsNew(nil, task.WithKeepUnprocessedEvents())
		return nil, nil
	}
	loops := orchestrators{"gatherer": gatherer, "busy": busy}
	var id api.InstanceID
	h.worker(loops, nil, func() {
		id = h.start("gatherer", []int{})
		h.started(id)
	})
	h.raise(id, "item", 1)
	check(h.client.SuspendOrchestration(h.ctx, id, ""))
	h.raise(id, "item", 2)
	h.raise(id, "item", 3)
	h.worker(loops, nil, func() {
		h.staysOpen(id)
		equal(h.get(id).RuntimeStatus, api.RUNTIME_STATUS_SUSPENDED)
		check(h.client.ResumeOrchestration(h.ctx, id, ""))
		equal(outputOf[[]int](h.end(id)), []int{1, 2, 3})

		var all []api.InstanceID
		for n := 0; n < 10; n++ {
			all = append(all, h.start("busy", nil))
		}
		for _, each := range all {
			for n := 0; n < 10; n++ {
				h.raise(each, "item", n)
			}
			check(h.client.TerminateOrchestration(h.ctx, each, api.WithOutput("enough")))
			h.raise(each, "item", 0)
		}
		for _, each := range all {
			state := h.end(each)
			equal(state.RuntimeStatus, api.RUNTIME_STATUS_TERMINATED)
			equal(state.SerializedOutput, `"enough"`)
		}
	})
}

func terminateRecursive(h *harness) {
	h.worker(orchestrators{"family": family}, nil, func() {
		root := fresh("family")
		h.start("family", 2, api.WithInstanceID(root))
		h.untilStatus(root+"++", api.RUNTIME_STATUS_RUNNING)
		check(h.client.TerminateOrchestration(h.ctx, root, api.WithRecursiveTerminate(true)))
		for _, id := range []api.InstanceID{root, root + "+", root + "++"} {
			equal(h.end(id).RuntimeStatus, api.RUNTIME_STATUS_TERMINATED)
		}
		root = fresh("family")
		h.start("family", 1, api.WithInstanceID(root))
		h.untilStatus(root+"+", api.RUNTIME_STATUS_RUNNING)
		check(h.client.TerminateOrchestration(h.ctx, root, api.WithRecursiveTerminate(false)))
		equal(h.end(root).RuntimeStatus, api.RUNTIME_STATUS_TERMINATED)
		equal(h.get(root+"+").RuntimeStatus, api.RUNTIME_STATUS_RUNNING)
		h.raise(root+"+", "go", nil)
		equal(h.end(root+"+").RuntimeStatus, api.RUNTIME_STATUS_COMPLETED)
	})
}

func purge(h *harness) {
	h.worker(orchestrators{"waiter": waiter}, nil, func() {
		id := h.start("waiter", nil)
		h.started(id)
		equal(h.client.PurgeOrchestrationState(h.ctx, id), api.ErrInstanceNotFound)
		h.raise(id, "go", nil)
		h.end(id)
		check(h.client.PurgeOrchestrationState(h.ctx, id))
		if h.get(id) != nil {
			fail("it is still there")
		}
		equal(h.client.PurgeOrchestrationState(h.ctx, id), api.ErrInstanceNotFound)
	})
}

func purgeRecursive(h *harness) {
	h.worker(orchestrators{"family": family}, nil, func() {
		for _, recursive := range []bool{true, false} {
			root := fresh("family")
			h.start("family", 1, api.WithInstanceID(root))
			h.untilStatus(root+"+", api.RUNTIME_STATUS_RUNNING)
			h.raise(root+"+", "go", nil)
			h.end(root)
			check(h.client.PurgeOrchestrationState(h.ctx, root, api.WithRecursivePurge(recursive)))
			equal(h.get(root+"+") == nil, recursive)
		}
	})
}

func scheduledStart(h *harness) {
	quick := func(ctx *task.OrchestrationContext) (any, error) { return "ran", nil }
	h.worker(orchestrators{"quick": quick}, nil, func() {
		due := time.Now().Add(2 * time.Second)
		id := h.start("quick", nil, api.WithStartTime(due))
		equal(h.get(id).RuntimeStatus, api.RUNTIME_STATUS_PENDING)
		state := h.end(id)
		equal(outputOf[string](state), "ran")
		if state.LastUpdatedAt.Before(due) {
			fail("it ran at %v, before %v", state.LastUpdatedAt, due)
		}
	})
}

func idReuse(h *harness) {
	h.worker(orchestrators{"waiter": waiter}, nil, func() {
		id := h.start("waiter", 1)
		h.started(id)
		_, err := h.client.ScheduleNewOrchestration(h.ctx, "waiter", api.WithInstanceID(id))
		if err == nil {
			fail("a running instance was replaced without a policy")
		}
		h.raise(id, "go", 1)
		equal(outputOf[int](h.end(id)), 1)
		policy := &api.OrchestrationIdReusePolicy{
			Action:          api.REUSE_ID_ACTION_TERMINATE,
			OperationStatus: []api.OrchestrationStatus{api.RUNTIME_STATUS_COMPLETED},
		}
		h.start("waiter", 2, api.WithInstanceID(id), api.WithOrchestrationIdReusePolicy(policy))
		h.raise(id, "go", 2)
		equal(outputOf[int](h.end(id)), 2)
	})
}

func largePayloads(h *harness) {
	carry := func(ctx *task.OrchestrationContext) (any, error) {
		var value string
		if err := ctx.GetInput(&value); err != nil {
			return nil, err
		}
		err := ctx.CallActivity("echo", task.WithActivityInput(value)).Await(&value)
		return value, err
	}
	h.worker(orchestrators{"carry": carry}, activities{"echo": echo}, func() {
		big := strings.Repeat("x", 1_000_000)
		if output[string](h, "carry", big) != big {
			fail("the payload changed on the way")
		}
	})
}

func longHistory(h *harness) {
	many := func(ctx *task.OrchestrationContext) (any, error) {
		var count, total int
		if err := ctx.GetInput(&count); err != nil {
			return nil, err
		}
		for n := 0; n < count; n++ {
			var value int
			if err := ctx.CallActivity("echo", task.WithActivityInput(n)).Await(&value); err != nil {
				return nil, err
			}
			total += value
		}
		return total, nil
	}
	h.worker(orchestrators{"many": many}, activities{"echo": echo}, func() {
		equal(output[int](h, "many", 300), 44850)
	})
}
