package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"
)

type object = map[string]any

// Checks the Kubernetes manifest: several front doors and workers on one database, each part with an
// identity and a user of the database of its own and no privileges, a job that makes the tables before,
// and a namespace in which nothing is reached that is not meant to be.
func checkManifest(path string) []string {
	manifests, err := load(path)
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	say := func(format string, arguments ...any) {
		problems = append(problems, fmt.Sprintf(format, arguments...))
	}
	accounts, users, found := map[any]string{}, map[any]string{}, map[string]bool{}
	closed := false
	for _, manifest := range manifests {
		name := at(manifest, "metadata", "name").(string)
		kind := manifest["kind"].(string)
		found[kind+" "+name] = true
		switch kind {
		case "Deployment", "StatefulSet", "Job":
			pod := at(manifest, "spec", "template", "spec").(object)
			if other := accounts[pod["serviceAccountName"]]; other != "" || pod["serviceAccountName"] == nil {
				say("%s has no identity of its own (%s)", name, other)
			}
			accounts[pod["serviceAccountName"]] = name
			problems = append(problems, checkPod(name, pod)...)
			for _, one := range pod["containers"].([]any) {
				url := variable(one.(object), "COUNTERSIGN_DATABASE_URL")
				if other := users[url]; other != "" || url == nil {
					say("%s has no user of its own in the database (%s)", name, other)
				}
				users[url] = name
			}
			if replicas, _ := at(manifest, "spec", "replicas").(int); kind != "Job" && replicas < 2 {
				say("there is one %s", name)
			}
			if kind == "StatefulSet" && at(manifest, "spec", "volumeClaimTemplates") == nil {
				say("%s has no folder that outlives it", name)
			}
			if kind == "Deployment" && at(manifest, "spec", "strategy", "type") != "RollingUpdate" {
				say("an update stops all of %s at once", name)
			}
		case "NetworkPolicy":
			selector := at(manifest, "spec", "podSelector").(object)
			types, _ := at(manifest, "spec", "policyTypes").([]any)
			allows := at(manifest, "spec", "ingress") != nil
			closed = closed || (len(selector) == 0 && len(types) == 2 && !allows && at(manifest, "spec", "egress") == nil)
			if allows && at(selector, "matchLabels", "app") != "front-door" && at(selector, "matchLabels", "app") != "scheduler" {
				say("the policy %s lets others reach more than front door and scheduler", name)
			}
		}
	}
	for _, needed := range []string{
		"StatefulSet front-door", "Deployment worker", "Job migration", "NetworkPolicy to-database",
		"PodDisruptionBudget front-door", "PodDisruptionBudget worker",
	} {
		if !found[needed] {
			say("there is no %s", needed)
		}
	}
	if !closed {
		say("no policy closes the namespace")
	}
	return problems
}

// What a pod may do, and what is checked of it while it runs.
func checkPod(name string, pod object) []string {
	var problems []string
	say := func(text string) { problems = append(problems, name+" "+text) }
	if at(pod, "securityContext", "runAsNonRoot") != true || at(pod, "securityContext", "seccompProfile", "type") != "RuntimeDefault" {
		say("may run as root or without seccomp")
	}
	// Every time it would open the files to the group, and they are refused then.
	if at(pod, "securityContext", "fsGroupChangePolicy") != "OnRootMismatch" {
		say("opens the key files to a group at each start")
	}
	first, _ := pod["initContainers"].([]any)
	for _, one := range append(first, pod["containers"].([]any)...) {
		context := at(one, "securityContext").(object)
		drop, _ := at(context, "capabilities", "drop").([]any)
		if context["allowPrivilegeEscalation"] != false || context["readOnlyRootFilesystem"] != true || len(drop) != 1 || drop[0] != "ALL" {
			say("runs with more rights than it needs")
		}
	}
	for _, one := range pod["containers"].([]any) {
		if name != "migration" && (at(one, "livenessProbe") == nil || at(one, "startupProbe") == nil) {
			say("is not checked while it runs")
		}
		if name == "front-door" && at(one, "readinessProbe", "httpGet", "path") != "/readyz" {
			say("gets requests before it is ready")
		}
		if name == "front-door" && variable(one.(object), "COUNTERSIGN_TRUSTED_PROXIES") == nil {
			say("takes all callers for its ingress")
		}
	}
	return problems
}

func load(path string) ([]object, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	decoder := yaml.NewDecoder(file)
	var manifests []object
	for {
		var manifest object
		if err := decoder.Decode(&manifest); errors.Is(err, io.EOF) {
			return manifests, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		manifests = append(manifests, manifest)
	}
}

// What is at the end of a path of members; nothing if one of them is missing.
func at(value any, path ...string) any {
	for _, member := range path {
		object, found := value.(object)
		if !found {
			return nil
		}
		value = object[member]
	}
	return value
}

// The value of a container's variable; nothing if it has none.
func variable(container object, name string) any {
	list, _ := container["env"].([]any)
	for _, one := range list {
		if at(one, "name") == name && at(one, "value") != "" {
			return at(one, "value")
		}
	}
	return nil
}
