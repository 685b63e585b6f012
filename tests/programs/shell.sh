# Subshells and pipelines, here-documents, traps, job control.
n=0
for i in $(seq 1000); do n=$((n + $(echo "$i" | cat))); done
echo "sum $n"
seq 1 2000 | while read -r x; do echo $((x % 7)); done | sort | uniq -c
cat <<-END | tr a-z A-Z
	here document $((6 * 7))
END
cat <<<"here string"
diff <(seq 5) <(seq 4; echo 5) && echo same
trap 'echo got usr1' USR1
kill -USR1 $$
(trap 'echo in child; exit 3' TERM; sleep 10 & kill -TERM $BASHPID; wait)
echo "status $?"
sleep 30 & pid=$!
kill -STOP $pid; sleep 0.1; jobs | sed 's/ \+/ /g'
kill -CONT $pid; kill $pid; wait $pid; echo "killed $?"
set -o pipefail; false | true; echo "pipefail $?"
exec 5<>file; echo one >&5; exec 5>&-; cat file
mkfifo fifo; (echo through fifo >fifo) & cat fifo; wait
trap 'echo bye' EXIT
