// Calls of each kind through the types that openapi-typescript has generated, each decoded.

import createClient from "openapi-fetch";
import type { components, paths } from "./api.js";

function given(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set`);
  return value;
}

function check(holds: unknown, what: unknown): asserts holds {
  if (!holds) throw new Error(JSON.stringify(what));
}

const uri = given("ACCOUNT_URI");
const unknown = "totp-00000000-0000-4000-8000-000000000000";
const client = createClient<paths>({
  baseUrl: given("COUNTERSIGN_SERVER"),
  headers: { authorization: `Bearer ${given("COUNTERSIGN_TOKEN")}` },
});

const ensured = await client.PUT("/api/accounts", { body: { uri } });
check(ensured.data && "readApproval" in ensured.data, ensured.error);
const page = await client.GET("/api/accounts", { params: { query: { search: "Shop" } } });
const id: string | undefined = page.data?.accounts.find((account) => account.id === ensured.data.id)?.id;
check(id, page.error);
const account = await client.GET("/api/accounts/{id}", { params: { path: { id } } });
check(account.data?.issuer === "Shop" && account.data.accountName === "ann", account);

const codes = await client.GET("/api/tokens", { params: { query: { id: [id, unknown] } } });
check(codes.data && "tokens" in codes.data, codes.error);
const [code, problem] = codes.data.tokens;
check(code && "token" in code && code.token.length === 6, code);
check(problem && "problem" in problem && problem.problem === "account-unknown", problem);

const upload = { uri: uri.replace("ann", "typescript") };
const started = await client.POST("/api/enrollments", { body: upload });
check(started.data, started.error);
let stage: components["schemas"]["Stage"] = started.data.stage;
while (stage !== "Enrolled") {
  check(stage !== "Failed" && stage !== "Invalid", stage);
  const path = { id: started.data.id };
  const seen = await client.GET("/api/enrollments/{id}", { params: { path, query: { wait: 30 } } });
  check(seen.data && typeof seen.data !== "string", seen.error);
  stage = seen.data.stage;
}

const requests = await client.GET("/api/requests");
check(Array.isArray(requests.data?.requests), requests.error);

const refused = await client.GET("/api/accounts/{id}", { params: { path: { id: unknown } } });
const told: components["schemas"]["Problem"] | undefined = refused.error;
check(told?.code === "account-unknown" && told.status === 404, told);
