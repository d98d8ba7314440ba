// Command calls uses HashiCorp Vault's own client for Go with the server in Vault's place: what
// it asks first, the caller of a token, and an account's code, read and checked.
package main

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	vault "github.com/hashicorp/vault/api"
)

func main() {
	if err := run(os.Getenv("COUNTERSIGN_TOKEN"), "totp/code/"+os.Getenv("ACCOUNT_ID")); err != nil {
		log.Fatal(err)
	}
}

func run(token, path string) error {
	config := vault.DefaultConfig()
	config.Address = os.Getenv("COUNTERSIGN_SERVER")
	config.MaxRetries = 0
	client, err := vault.NewClient(config)
	if err != nil {
		return err
	}
	health, err := client.Sys().Health()
	if err != nil || !health.Initialized || health.Sealed || health.Standby {
		return fmt.Errorf("health: %+v, %w", health, err)
	}
	seal, err := client.Sys().SealStatus()
	if err != nil || seal.Sealed || !seal.Initialized {
		return fmt.Errorf("seal status: %+v, %w", seal, err)
	}
	leader, err := client.Sys().Leader()
	if err != nil || leader.HAEnabled {
		return fmt.Errorf("leader: %+v, %w", leader, err)
	}
	if initialized, err := client.Sys().InitStatus(); err != nil || !initialized {
		return fmt.Errorf("initialized: %t, %w", initialized, err)
	}

	client.SetToken("nobody's")
	if _, err = client.Auth().Token().LookupSelf(); status(err) != http.StatusForbidden {
		return fmt.Errorf("a wrong token: %w", err)
	}
	client.SetToken(token)
	self, err := client.Auth().Token().LookupSelf()
	if err != nil || self.Data["display_name"] != "admin" {
		return fmt.Errorf("the caller: %+v, %w", self, err)
	}
	if policies, err := self.TokenPolicies(); err != nil || len(policies) == 0 {
		return fmt.Errorf("the caller's policies: %v, %w", policies, err)
	}

	code, err := client.Logical().Read(path)
	if err != nil || code == nil {
		return fmt.Errorf("a code: %+v, %w", code, err)
	}
	digits, isText := code.Data["code"].(string)
	if !isText || len(digits) != 6 {
		return fmt.Errorf("a code: %+v", code.Data)
	}
	check := func(digits string) (*vault.Secret, error) {
		return client.Logical().Write(path, map[string]any{"code": digits})
	}
	if valid, err := check(digits); err != nil || valid.Data["valid"] != true {
		return fmt.Errorf("a valid code: %+v, %w", valid, err)
	}
	if _, err := check(digits); status(err) != http.StatusBadRequest {
		return fmt.Errorf("a code that was used: %w", err)
	}
	if valid, err := check("none"); err != nil || valid.Data["valid"] != false {
		return fmt.Errorf("a wrong code: %+v, %w", valid, err)
	}
	nothing, err := client.Logical().Read("totp/code/totp-00000000-0000-4000-8000-000000000000")
	if nothing != nil || err == nil || !strings.Contains(err.Error(), "There is no account") {
		return fmt.Errorf("no such account: %+v, %w", nothing, err)
	}
	fmt.Println("ok: HashiCorp Vault's client for Go")
	return nil
}

// status is that of an answer that the client took for an error; 0 without one.
func status(err error) int {
	var refused *vault.ResponseError
	if errors.As(err, &refused) {
		return refused.StatusCode
	}
	return 0
}
