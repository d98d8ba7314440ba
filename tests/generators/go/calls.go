// Command calls makes calls of each kind by the client that oapi-codegen has generated, each
// decoded.
package main

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"strings"

	"countersign.invalid/generated/api"
)

const unknown = "totp-00000000-0000-4000-8000-000000000000"

func main() {
	if err := run(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context) error {
	uri := os.Getenv("ACCOUNT_URI")
	bearer := func(_ context.Context, request *http.Request) error {
		request.Header.Set("Authorization", "Bearer "+os.Getenv("COUNTERSIGN_TOKEN"))
		return nil
	}
	client, err := api.NewClientWithResponses(os.Getenv("COUNTERSIGN_SERVER"), api.WithRequestEditorFn(bearer))
	if err != nil {
		return err
	}

	ensured, err := client.EnsureAccountWithResponse(ctx, api.EnsureBody{Uri: uri})
	if err != nil {
		return err
	}
	there := ensured.JSON200
	if there == nil {
		there = ensured.JSON201
	}
	if there == nil {
		return fmt.Errorf("ensured: %s", ensured.Body)
	}
	search := "Shop"
	page, err := client.ListAccountsWithResponse(ctx, &api.ListAccountsParams{Search: &search})
	if err != nil {
		return err
	}
	if page.JSON200 == nil || len(page.JSON200.Accounts) == 0 {
		return fmt.Errorf("page: %s", page.Body)
	}
	account, err := client.GetAccountWithResponse(ctx, there.Id)
	if err != nil {
		return err
	}
	if account.JSON200 == nil || account.JSON200.AccountName != "ann" || *account.JSON200.Issuer != "Shop" {
		return fmt.Errorf("account: %s", account.Body)
	}

	codes, err := client.ReadCodesWithResponse(ctx, &api.ReadCodesParams{Id: []string{there.Id, unknown}})
	if err != nil {
		return err
	}
	if codes.JSON200 == nil {
		return fmt.Errorf("codes: %s", codes.Body)
	}
	batch, err := codes.JSON200.AsBatch()
	if err != nil {
		return err
	}
	if len(batch.Tokens) != 2 {
		return fmt.Errorf("batch: %s", codes.Body)
	}
	code, err := batch.Tokens[0].AsBatchItem0()
	if err != nil {
		return err
	}
	none, err := batch.Tokens[1].AsBatchItem1()
	if err != nil {
		return err
	}
	if len(code.Token) != 6 || none.Problem != "account-unknown" {
		return fmt.Errorf("batch: %s", codes.Body)
	}

	other := strings.Replace(uri, "ann", "go", 1)
	started, err := client.StartEnrollmentWithResponse(ctx, nil, api.JsonUpload{Uri: &other})
	if err != nil {
		return err
	}
	if started.JSON202 == nil {
		return fmt.Errorf("started: %s", started.Body)
	}
	wait := int32(30)
	for {
		seen, err := client.GetEnrollmentWithResponse(ctx, started.JSON202.Id, &api.GetEnrollmentParams{Wait: &wait})
		if err != nil {
			return err
		}
		if ended := seen.JSON200; ended != nil {
			if ended.Stage != "Enrolled" || ended.Preview.AccountName != "go" {
				return fmt.Errorf("ended: %s", seen.Body)
			}
			break
		}
		if seen.JSON202 == nil {
			return fmt.Errorf("seen: %s", seen.Body)
		}
	}

	requests, err := client.ListRequestsWithResponse(ctx, nil)
	if err != nil {
		return err
	}
	if requests.JSON200 == nil {
		return fmt.Errorf("requests: %s", requests.Body)
	}

	refused, err := client.GetAccountWithResponse(ctx, unknown)
	if err != nil {
		return err
	}
	problem := refused.ApplicationproblemJSON404
	if problem == nil || problem.Code != "account-unknown" || problem.Status != 404 {
		return fmt.Errorf("refused: %s", refused.Body)
	}
	return nil
}
