#!/usr/bin/env bash
# Fetches the official Java SDK with Maven into a throwaway folder and runs the suite.
# Arguments: names of features, or none for all. Verdicts go to standard output.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../lib.sh
source ../lib.sh

need javac openjdk-17-jdk-headless || unavailable "Java: there is no JDK, and it could not be installed"
need mvn maven || unavailable "Java: there is no Maven, and it could not be installed"
if ! cmp -s pom.xml "$work/java/pom.xml"; then
    rm -rf "$work/java"
    mkdir -p "$work/java"
    retry mvn --batch-mode --quiet --file pom.xml dependency:copy-dependencies "-DoutputDirectory=$work/java/lib" >&2 \
        || unavailable "Java: the official artifact could not be downloaded; is there a network?"
    cp pom.xml "$work/java/"
fi
javac -d "$work/java/classes" -cp "$work/java/lib/*" Harness.java Suite.java
start_scheduler
timeout 1200 java -cp "$work/java/classes:$work/java/lib/*" Suite "$@"
