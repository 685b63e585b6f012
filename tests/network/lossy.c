/*
 * A cable of bad quality: passes frames between two interfaces of its network namespace, and loses, delays and reorders
 * them. lossy INTERFACE INTERFACE LOST/1000 DELAY_US REORDERED/1000
 */
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define FRAMES 32768
#define FRAME_MAX 2048
#define BATCH 64

struct frame {
	long at;
	int to;
	int len;
	char data[FRAME_MAX];
};

static struct frame *frames;
static int heap[FRAMES], count;
static int spare[FRAMES], spares;

static long now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int earlier(int a, int b)
{
	return frames[heap[a]].at < frames[heap[b]].at;
}

static void swap(int a, int b)
{
	int frame = heap[a];

	heap[a] = heap[b];
	heap[b] = frame;
}

static void push(int frame)
{
	int i = count++;

	for (heap[i] = frame; i > 0 && earlier(i, (i - 1) / 2); i = (i - 1) / 2)
		swap(i, (i - 1) / 2);
}

static int pop(void)
{
	int first = heap[0], i = 0;

	heap[0] = heap[--count];
	for (;;) {
		int least = i;

		for (int child = 2 * i + 1; child <= 2 * i + 2 && child < count; child++)
			if (earlier(child, least))
				least = child;
		if (least == i)
			return first;
		swap(i, least);
		i = least;
	}
}

static int open_interface(const char *name)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL)), on = 1, size = 32 << 20;
	struct sockaddr_ll place = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};

	place.sll_ifindex = if_nametoindex(name);
	if (fd < 0 || bind(fd, (struct sockaddr *)&place, sizeof place) < 0)
		exit(1);
	setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
	return fd;
}

/* Takes what has come to one end. */
static void take(const int *fds, int from, int lost, long delay, int reordered)
{
	/* When the last frame that is not reordered goes: the others stay in order. */
	static long last[2];

	for (int i = 0; i < BATCH && spares; i++) {
		struct frame *frame = &frames[spare[spares - 1]];
		int len = recv(fds[from], frame->data, FRAME_MAX, MSG_TRUNC);

		if (len < 0)
			return;
		if (len > FRAME_MAX || random() % 1000 < lost)
			continue;
		frame->len = len;
		frame->to = 1 - from;
		frame->at = now() + delay;
		if (random() % 1000 < reordered)
			frame->at -= delay / 4;
		else if (frame->at < last[from])
			frame->at = last[from];
		else
			last[from] = frame->at;
		push(spare[--spares]);
	}
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	int fds[2] = {open_interface(argv[1]), open_interface(argv[2])};

	frames = calloc(FRAMES, sizeof *frames);
	for (spares = 0; spares < FRAMES; spares++)
		spare[spares] = spares;
	for (;;) {
		struct pollfd ends[2] = {{fds[0], POLLIN, 0}, {fds[1], POLLIN, 0}};
		long left = count ? frames[heap[0]].at - now() : 0;

		poll(ends, 2, !count ? -1 : left <= 0 ? 0 : (left + 999) / 1000);
		for (int from = 0; from < 2; from++)
			take(fds, from, atoi(argv[3]), atol(argv[4]), atoi(argv[5]));
		while (count && frames[heap[0]].at <= now()) {
			int frame = pop();

			send(fds[frames[frame].to], frames[frame].data, frames[frame].len, 0);
			spare[spares++] = frame;
		}
	}
}
