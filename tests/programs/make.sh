# A C program of several files, built in parallel, run.
set -e
for i in $(seq 8); do printf 'int f%d(void) { return %d; }\n' "$i" "$i" >"f$i.c"; done
{ for i in $(seq 8); do echo "int f$i(void);"; done
  echo '#include <stdio.h>'; echo 'int main(void) { int s = 0;'
  for i in $(seq 8); do echo "s += f$i();"; done; echo 'printf("%d\n", s); return s != 36; }'; } >main.c
cat >Makefile <<'END'
objects = $(patsubst %.c,%.o,$(sort $(wildcard *.c)))
program: $(objects)
	cc -o $@ $^
%.o: %.c
	cc -O1 -c -o $@ $<
END
make -s -j2
./program
touch f3.c; make -n
