# Perl: processes, pipes, files, signals.
perl -e '
use strict; use warnings; use POSIX ":sys_wait_h"; use IO::Handle; $| = 1;
pipe(my $r, my $w); my $pid = fork();
if (!$pid) { close $r; print $w "line $_\n" for 1..1000; exit 4 }
close $w; my $n = 0; $n++ while <$r>; waitpid($pid, 0); print "$n lines, status ", $? >> 8, "\n";
local $SIG{ALRM} = sub { die "alarm\n" }; eval { alarm 1; select(undef, undef, undef, 5) }; print $@;
open(my $f, "+>", "data") or die; print $f join("\n", map { $_ * $_ } 1..100); seek($f, 0, 0);
my $s = 0; $s += $_ while <$f>; print "$s\n"; print -s "data", "\n"; unlink "data"; print -e "data" ? "there" : "gone", "\n";
my %h = map { $_ => 1 } split /\s+/, `seq 1 50`; print scalar(keys %h), "\n"; print join(",", sort map { chomp; $_ } `printf "b\na\n"`), "\n";
'
