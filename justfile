# Short names for the steps of the gate, for those who have `just`; `.ci/run` needs bash only.

# List the recipes.
default:
    @just --list

# Run the whole gate, or the named steps of it.
gate *STEPS:
    .ci/run {{ STEPS }}

# Format the code.
format:
    cargo fmt --all

# Check what most changes need: formatting, lints, tests.
check: (gate "format" "lints" "tests")

# Run one test, of all targets or of one: `just test grants`, `just test grants door`.
test NAME TARGET="":
    cargo test --workspace --locked {{ if TARGET == "" { "" } else { "--test " + TARGET } }} {{ NAME }}

# Regenerate docs/openapi.json and the tables of problems.
golden:
    UPDATE_GOLDEN=1 cargo test --workspace --locked --test openapi --test problems

# Check licenses, sources and versions of dependencies.
dependencies: (gate "dependencies")

# Kill all three processes at random under load, as often as you say.
chaos KILLS="60":
    tests/chaos/run --kills {{ KILLS }}

# The tests that take hours.
long *STEPS:
    .ci/long {{ STEPS }}
