package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/microsoft/durabletask-go/api"
	"github.com/microsoft/durabletask-go/client"
	"github.com/microsoft/durabletask-go/task"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// How long anything may take before the feature counts as broken.
const deadline = 60 * time.Second

// silent is a logger that says nothing.
type silent struct{}

func (silent) Debug(...any)          {}
func (silent) Debugf(string, ...any) {}
func (silent) Info(...any)           {}
func (silent) Infof(string, ...any)  {}
func (silent) Warn(...any)           {}
func (silent) Warnf(string, ...any)  {}
func (silent) Error(...any)          {}
func (silent) Errorf(string, ...any) {}

// harness is one feature's connection. Its first failure ends the feature.
type harness struct {
	ctx    context.Context
	conn   *grpc.ClientConn
	client *client.TaskHubGrpcClient
}

func newHarness(address string) (*harness, error) {
	conn, err := grpc.Dial(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &harness{
		ctx:    context.Background(),
		conn:   conn,
		client: client.NewTaskHubGrpcClient(conn, silent{}),
	}, nil
}

type failure struct{ message string }

func fail(format string, args ...any) {
	panic(failure{fmt.Sprintf(format, args...)})
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fail("%v", err)
	}
}

func equal(got, expected any) {
	if !reflect.DeepEqual(got, expected) {
		fail("expected %#v, got %#v", expected, got)
	}
}

type orchestrators map[string]task.Orchestrator
type activities map[string]task.Activity

// worker runs body while a worker runs that knows the parts, each by its name.
func (h *harness) worker(o orchestrators, a activities, body func()) {
	registry := task.NewTaskRegistry()
	for name, run := range o {
		check(registry.AddOrchestratorN(name, run))
	}
	for name, run := range a {
		check(registry.AddActivityN(name, run))
	}
	ctx, stop := context.WithCancel(h.ctx)
	defer stop()
	check(h.client.StartWorkItemListener(ctx, registry))
	body()
}

func (h *harness) start(name string, input any, opts ...api.NewOrchestrationOptions) api.InstanceID {
	opts = append(opts, api.WithInput(input))
	return must(h.client.ScheduleNewOrchestration(h.ctx, name, opts...))
}

// started waits until the instance has had its first turn.
func (h *harness) started(id api.InstanceID) {
	ctx, cancel := context.WithTimeout(h.ctx, deadline)
	defer cancel()
	must(h.client.WaitForOrchestrationStart(ctx, id))
}

// end is the state of an instance once it has ended.
func (h *harness) end(id api.InstanceID) *api.OrchestrationMetadata {
	ctx, cancel := context.WithTimeout(h.ctx, deadline)
	defer cancel()
	return must(h.client.WaitForOrchestrationCompletion(ctx, id))
}

// staysOpen fails where the instance ends within a moment.
func (h *harness) staysOpen(id api.InstanceID) {
	ctx, cancel := context.WithTimeout(h.ctx, 1500*time.Millisecond)
	defer cancel()
	state, err := h.client.WaitForOrchestrationCompletion(ctx, id)
	if err == nil {
		fail("it ended as %v", state.RuntimeStatus)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		fail("%v", err)
	}
}

func (h *harness) get(id api.InstanceID) *api.OrchestrationMetadata {
	state, err := h.client.FetchOrchestrationMetadata(h.ctx, id)
	if errors.Is(err, api.ErrInstanceNotFound) {
		return nil
	}
	check(err)
	return state
}

func (h *harness) raise(id api.InstanceID, name string, data any) {
	check(h.client.RaiseEvent(h.ctx, id, name, api.WithEventPayload(data)))
}

// output runs an orchestration that has to complete, and gives its output.
func output[T any](h *harness, name string, input any, opts ...api.NewOrchestrationOptions) T {
	return outputOf[T](h.end(h.start(name, input, opts...)))
}

func outputOf[T any](state *api.OrchestrationMetadata) T {
	if state.RuntimeStatus != api.RUNTIME_STATUS_COMPLETED {
		fail("it ended as %v: %s", state.RuntimeStatus, state.SerializedOutput)
	}
	var value T
	check(json.Unmarshal([]byte(state.SerializedOutput), &value))
	return value
}

// until asks again until the condition holds or the deadline.
func until(holds func() bool) {
	for end := time.Now().Add(deadline); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			fail("still not so after %v", deadline)
		}
	}
}

func (h *harness) untilStatus(id api.InstanceID, status api.OrchestrationStatus) {
	until(func() bool {
		state := h.get(id)
		return state != nil && state.RuntimeStatus == status
	})
}

// fresh is an id that nothing else uses.
func fresh(prefix string) api.InstanceID {
	return api.InstanceID(prefix + "-" + uuid.NewString()[:13])
}

type feature struct {
	name  string
	check func(*harness)
}

// run checks one feature and says how it went, as one line.
func run(f feature, address string) {
	begun := time.Now()
	verdict, detail := "pass", ""
	func() {
		h, err := newHarness(address)
		if err != nil {
			verdict, detail = "fail", err.Error()
			return
		}
		defer h.conn.Close()
		defer func() {
			if problem := recover(); problem != nil {
				known, ok := problem.(failure)
				if !ok {
					panic(problem)
				}
				verdict, detail = "fail", strings.Join(strings.Fields(known.message), " ")
			}
		}()
		f.check(h)
		detail = fmt.Sprintf("%.1fs", time.Since(begun).Seconds())
	}()
	fmt.Printf("RESULT\tgo\t%s\t%s\t%s\n", f.name, verdict, detail)
}

func endpoint() string {
	for _, part := range strings.Split(os.Getenv("CONFORMANCE_CONNECTION_STRING"), ";") {
		if key, value, ok := strings.Cut(part, "="); ok && strings.EqualFold(key, "endpoint") {
			return strings.TrimPrefix(value, "http://")
		}
	}
	return ""
}

func main() {
	if onlyDefaults() {
		return
	}
	only := map[string]bool{}
	for _, name := range os.Args[1:] {
		only[name] = true
	}
	for _, f := range features {
		if len(only) == 0 || only[f.name] {
			run(f, endpoint())
		}
	}
}
