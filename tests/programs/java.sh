# Java: threads, files, child processes, garbage collection.
java -XX:TieredStopAtLevel=1 -Xmx128m -cp "$PREP" T
