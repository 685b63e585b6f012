# A terminal multiplexer with a shell in it.
export TMUX_TMPDIR=$PWD TERM=xterm; t="tmux -f /dev/null -L t"
$t new-session -d -x 80 -y 24 "env PS1='> ' bash --norc --noprofile"
sleep 0.5; $t send-keys 'stty size; echo $((6*7))' Enter; sleep 0.5
$t send-keys 'sleep 100' Enter; sleep 0.3; $t send-keys C-c; sleep 0.3; $t send-keys 'echo rc $?' Enter; sleep 0.5
$t capture-pane -p | grep -E '^(24|23|42|rc)'; $t split-window 'sleep 5'; $t list-panes | wc -l
$t send-keys -t 0 'exit' Enter; $t kill-server; echo ended
