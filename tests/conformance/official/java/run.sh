#!/usr/bin/env bash
# Fetches the official Java SDK with Maven into a throwaway folder and runs the suite.
# Arguments: names of features, or none for all. Verdicts go to standard output.
# With CONFORMANCE_JAVA_SOURCE, a checkout of the SDK's repository at v1.9.0 or later, the SDK is
# built from there, and the suite has what only those versions have: the column java-1.9.
set -euo pipefail
cd "$(dirname "$0")"
# shellcheck source=../lib.sh
source ../lib.sh

need javac openjdk-17-jdk-headless || unavailable "Java: there is no JDK, and it could not be installed"
need mvn maven || unavailable "Java: there is no Maven, and it could not be installed"
sources=(./*.java)
if [ -n "${CONFORMANCE_JAVA_SOURCE:-}" ]; then
    export CONFORMANCE_SDK=java-1.9
    target=$work/java-1.9 pom=newer.pom.xml
    sources+=(newer/*.java)
    build() {
        retry mvn --batch-mode --quiet --file "$pom" "-Dcheckout=$CONFORMANCE_JAVA_SOURCE" "-Dbuild=$target/build" \
            package dependency:copy-dependencies "-DoutputDirectory=$target/lib" >&2 \
            && cp "$target"/build/*.jar "$target/lib/"
    }
else
    export CONFORMANCE_SDK=java
    target=$work/java pom=pom.xml
    build() {
        retry mvn --batch-mode --quiet --file "$pom" dependency:copy-dependencies "-DoutputDirectory=$target/lib" >&2
    }
fi
if ! cmp -s "$pom" "$target/pom.xml"; then
    rm -rf "$target"
    mkdir -p "$target"
    build || unavailable "Java: the official artifact could not be downloaded; is there a network?"
    cp "$pom" "$target/pom.xml"
fi
rm -rf "$target/classes"
javac -d "$target/classes" -cp "$target/lib/*" "${sources[@]}"
start_scheduler
timeout 1200 java -cp "$target/classes:$target/lib/*" Suite "$@"
if [ $# = 0 ]; then
    recorded "$CONFORMANCE_SDK" java -cp "$target/classes:$target/lib/*" Defaults
fi
