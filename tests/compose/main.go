// Loads the compose files as `docker compose config` does, with the library that it is built
// on, and checks what they promise: pinned images, ports on the loopback address only, our
// own containers without privileges, a front door that shares its data folder with its
// workers, another one only with a database and a folder of its own, and the numbers of each set.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
)

// What is started with which files, and how often each service runs.
var sets = []struct {
	files    []string
	replicas map[string]int
}{
	{[]string{"docker-compose.yml"}, map[string]int{"front-door": 1, "worker": 1, "scheduler": 1}},
	{[]string{"docker-compose.yml", "docker-compose.azure.yml"}, map[string]int{"front-door": 1, "worker": 1, "dts": 1}},
	{[]string{"docker-compose.yml", "docker-compose.scale.yml"}, map[string]int{"front-door": 1, "front-door-2": 1, "worker": 3, "scheduler": 1, "postgres": 1}},
}

func main() {
	root := os.Args[1]
	failed := false
	for _, set := range sets {
		paths := make([]string, 0, len(set.files))
		for _, file := range set.files {
			paths = append(paths, filepath.Join(root, file))
		}
		problems := check(paths, set.replicas)
		for _, problem := range problems {
			fmt.Fprintf(os.Stderr, "%s: %s\n", strings.Join(set.files, " + "), problem)
		}
		failed = failed || len(problems) > 0
	}
	for _, problem := range checkManifest(filepath.Join(root, "deploy/kubernetes/countersign.yaml")) {
		fmt.Fprintf(os.Stderr, "the Kubernetes manifest: %s\n", problem)
		failed = true
	}
	if failed {
		os.Exit(1)
	}
	fmt.Printf("%d sets of compose files and the Kubernetes manifest load and keep their promises\n", len(sets))
}

func check(paths []string, replicas map[string]int) []string {
	load := func(environment ...string) (*types.Project, error) {
		options, err := cli.NewProjectOptions(paths, cli.WithEnv(environment))
		if err != nil {
			return nil, err
		}
		return options.LoadProject(context.Background())
	}
	var problems []string
	if _, err := load(); err == nil {
		problems = append(problems, "it starts without an administrator's token")
	}
	token, password := "COUNTERSIGN_ADMIN_TOKEN=a-token-for-this-check", "COUNTERSIGN_DATABASE_PASSWORD=apassword"
	project, err := load(token, password)
	if err != nil {
		return append(problems, err.Error())
	}
	_, shared := project.Services["postgres"]
	if _, err := load(token); shared && err == nil {
		problems = append(problems, "the database starts without a password")
	}
	for name, service := range project.Services {
		say := func(text string) { problems = append(problems, name+" "+text) }
		if _, tag, _ := strings.Cut(service.Image, ":"); tag == "" || tag == "latest" {
			say("has no pinned image: " + service.Image)
		}
		for _, port := range service.Ports {
			if port.HostIP != "127.0.0.1" {
				say("publishes a port beyond the loopback address")
			}
		}
		for _, volume := range service.Volumes {
			if volume.Type == types.VolumeTypeBind {
				say("depends on a folder of the host: " + volume.Source)
			}
		}
		ours := service.Build != nil
		if ours && (!service.ReadOnly || len(service.CapDrop) == 0 || len(service.SecurityOpt) == 0) {
			say("runs with more rights than it needs")
		}
	}
	if folder := dataVolume(project, "front-door"); folder == "" || folder != dataVolume(project, "worker") {
		problems = append(problems, "front door and worker do not share a volume for their data")
	}
	if second, found := project.Services["front-door-2"]; found {
		if folder := dataVolume(project, "front-door-2"); folder == "" || folder == dataVolume(project, "front-door") {
			problems = append(problems, "the second front door has no folder of its own")
		}
		for _, name := range []string{"front-door", "worker"} {
			if at := database(project.Services[name]); at == "" || at != database(second) {
				problems = append(problems, name+" does not use the database of the second front door")
			}
		}
	}
	for name, want := range replicas {
		service, found := project.Services[name]
		if !found || service.GetScale() != want {
			problems = append(problems, fmt.Sprintf("%s runs %d times, not %d", name, service.GetScale(), want))
		}
	}
	return problems
}

// The named volume that a service keeps its data in.
func dataVolume(project *types.Project, name string) string {
	for _, volume := range project.Services[name].Volumes {
		if volume.Type == types.VolumeTypeVolume && volume.Target == "/data" {
			return volume.Source
		}
	}
	return ""
}

// The address of the database that a service shares with others; nothing if it shares none.
func database(service types.ServiceConfig) string {
	if at := service.Environment["COUNTERSIGN_DATABASE_URL"]; at != nil && *service.Environment["COUNTERSIGN_SINGLE_FRONT_DOOR"] == "false" {
		return *at
	}
	return ""
}
