# Go: goroutines, TCP, child processes, signals.
# timeout: 120
"$PREP/t"
