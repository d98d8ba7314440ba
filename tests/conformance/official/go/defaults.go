package main

import (
	"context"
	"fmt"
	"os"

	"github.com/microsoft/durabletask-go/task"
)

// defaults makes each call with nothing but what it must be given, for the recorder.
func defaults(h *harness) {
	once := func(ctx *task.OrchestrationContext) (any, error) {
		var value int
		if err := ctx.GetInput(&value); err == nil && value == 0 {
			ctx.ContinueAsNew(1)
		}
		return nil, nil
	}
	everything := func(ctx *task.OrchestrationContext) (any, error) {
		if err := ctx.CallActivity("act").Await(nil); err != nil {
			return nil, err
		}
		if err := ctx.CallSubOrchestrator("child").Await(nil); err != nil {
			return nil, err
		}
		return nil, ctx.CreateTimer(0).Await(nil)
	}
	parts := orchestrators{
		"child":      func(*task.OrchestrationContext) (any, error) { return nil, nil },
		"waits":      func(ctx *task.OrchestrationContext) (any, error) { return nil, ctx.WaitForSingleEvent("go", -1).Await(nil) },
		"fails":      func(*task.OrchestrationContext) (any, error) { return nil, fmt.Errorf("asked to fail") },
		"once":       once,
		"everything": everything,
	}
	act := func(task.ActivityContext) (any, error) { return nil, nil }
	h.worker(parts, activities{"act": act}, func() {
		ctx, c := context.Background(), h.client
		first := must(c.ScheduleNewOrchestration(ctx, "waits"))
		must(c.WaitForOrchestrationStart(ctx, first))
		must(c.FetchOrchestrationMetadata(ctx, first))
		check(c.SuspendOrchestration(ctx, first, ""))
		check(c.ResumeOrchestration(ctx, first, ""))
		check(c.RaiseEvent(ctx, first, "go"))
		must(c.WaitForOrchestrationCompletion(ctx, first))
		for _, name := range []string{"everything", "once", "fails"} {
			must(c.WaitForOrchestrationCompletion(ctx, must(c.ScheduleNewOrchestration(ctx, name))))
		}
		check(c.TerminateOrchestration(ctx, first))
		check(c.PurgeOrchestrationState(ctx, first))
	})
}

// onlyDefaults runs defaults where the arguments ask for that.
func onlyDefaults() bool {
	if len(os.Args) != 2 || os.Args[1] != "defaults" {
		return false
	}
	run(feature{"defaults", defaults}, endpoint())
	return true
}
