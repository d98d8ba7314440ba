package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"go.yaml.in/yaml/v3"
)

type object = map[string]any

// Checks the Kubernetes manifest: one front door and its worker on one volume, with an identity
// each and no privileges, and a namespace in which nothing is reached that is not meant to be.
func checkManifest(path string) []string {
	manifests, err := load(path)
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	say := func(format string, arguments ...any) {
		problems = append(problems, fmt.Sprintf(format, arguments...))
	}
	claims, accounts := map[string]any{}, map[string]any{}
	closed := false
	for _, manifest := range manifests {
		name := at(manifest, "metadata", "name").(string)
		switch manifest["kind"] {
		case "Deployment":
			if at(manifest, "spec", "replicas") != 1 || at(manifest, "spec", "strategy", "type") != "Recreate" {
				say("%s does not run once, or an update starts a second one beside it", name)
			}
			pod := at(manifest, "spec", "template", "spec").(object)
			accounts[name] = pod["serviceAccountName"]
			for _, volume := range pod["volumes"].([]any) {
				claims[name] = at(volume.(object), "persistentVolumeClaim", "claimName")
			}
			if at(pod, "securityContext", "runAsNonRoot") != true || at(pod, "securityContext", "seccompProfile", "type") != "RuntimeDefault" {
				say("%s may run as root or without seccomp", name)
			}
			// Every time it would open the files to the group, and they are refused then.
			if at(pod, "securityContext", "fsGroupChangePolicy") != "OnRootMismatch" {
				say("%s opens the key files to a group at each start", name)
			}
			for _, container := range pod["containers"].([]any) {
				context := at(container.(object), "securityContext").(object)
				drop, _ := at(context, "capabilities", "drop").([]any)
				if context["allowPrivilegeEscalation"] != false || context["readOnlyRootFilesystem"] != true || len(drop) != 1 || drop[0] != "ALL" {
					say("%s runs with more rights than it needs", name)
				}
				if name == "front-door" && !hasVariable(container.(object), "COUNTERSIGN_TRUSTED_PROXIES") {
					say("the front door takes all callers for its ingress")
				}
			}
			if name == "worker" && at(pod, "affinity", "podAffinity", "requiredDuringSchedulingIgnoredDuringExecution") == nil {
				say("the worker may be on another node than the front door's volume")
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
	if claims["front-door"] == nil || claims["front-door"] != claims["worker"] {
		say("front door and worker do not share a volume that outlives them")
	}
	if accounts["front-door"] == nil || accounts["front-door"] == accounts["worker"] {
		say("front door and worker have one identity")
	}
	if !closed {
		say("no policy closes the namespace")
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

// Whether a container gets a variable with a value.
func hasVariable(container object, variable string) bool {
	list, _ := container["env"].([]any)
	for _, one := range list {
		if at(one, "name") == variable && at(one, "value") != nil && at(one, "value") != "" {
			return true
		}
	}
	return false
}
