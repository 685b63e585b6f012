/* Keys and keyrings: add_key, request_key, keyctl. */
#include "common.h"
#include <linux/keyctl.h>
#include <pthread.h>

static long add(const char *type, const char *desc, const void *data, size_t len, int ring)
{
	return syscall(SYS_add_key, type, desc, data, len, ring);
}

static long request(const char *type, const char *desc, const char *callout, int ring)
{
	return syscall(SYS_request_key, type, desc, callout, ring);
}

static long ctl(int op, long a, long b, long c, long d)
{
	return syscall(SYS_keyctl, op, a, b, c, d);
}

static char *text(int id)
{
	static char buf[4200];

	memset(buf, 0, sizeof(buf));
	return ctl(KEYCTL_DESCRIBE, id, (long)buf, sizeof(buf), 0) < 0 ? strerror(errno) : buf;
}

enum { SESSION = KEY_SPEC_SESSION_KEYRING, PROCESS = KEY_SPEC_PROCESS_KEYRING, THREAD = KEY_SPEC_THREAD_KEYRING };

static void adds(void)
{
	static char big[32768], longest[4200];

	memset(longest, 'x', sizeof(longest) - 1);
	WORKS("user key", add("user", "one", "payload", 7, PROCESS));
	WORKS("again", add("user", "one", "other", 5, PROCESS));
	WORKS("no payload", add("user", "none", NULL, 0, PROCESS));
	WORKS("payload nowhere", add("user", "none", (void *)8, 4, PROCESS));
	WORKS("big payload", add("user", "big", big, 32768, PROCESS));
	WORKS("huge payload", add("user", "big", big, 1 << 21, PROCESS));
	WORKS("no description", add("user", NULL, "x", 1, PROCESS));
	WORKS("empty description", add("user", "", "x", 1, PROCESS));
	WORKS("long description", add("user", longest, "x", 1, PROCESS));
	WORKS("description nowhere", add("user", (void *)8, "x", 1, PROCESS));
	WORKS("type nowhere", add((void *)8, "x", "x", 1, PROCESS));
	WORKS("empty type", add("", "x", "x", 1, PROCESS));
	WORKS("unknown type", add("banana", "x", "x", 1, PROCESS));
	WORKS("long type", add("012345678901234567890123456789012", "x", "x", 1, PROCESS));
	WORKS("type with a dot", add(".user", "x", "x", 1, PROCESS));
	WORKS("keyring with a dot", add("keyring", ".x", NULL, 0, PROCESS));
	WORKS("keyring with a payload", add("keyring", "x", "x", 1, PROCESS));
	WORKS("logon without a subject", add("logon", "x", "x", 1, PROCESS));
	WORKS("logon with an empty subject", add("logon", ":x", "x", 1, PROCESS));
	WORKS("logon", add("logon", "x:y", "x", 1, PROCESS));
	WORKS("to nowhere", add("user", "x", "x", 1, 0));
	WORKS("to a special keyring that is none", add("user", "x", "x", 1, -99));
	WORKS("to no key", add("user", "x", "x", 1, 0x7ffffffe));
	long one = add("user", "one", "x", 1, PROCESS);
	WORKS("to a key that is no keyring", add("user", "x", "x", 1, one));
}

static void controls(void)
{
	char buf[64] = "";
	long key = add("user", "key", "payload", 7, PROCESS), logon = add("logon", "a:b", "secret", 6, PROCESS);
	long ring = add("keyring", "ring", NULL, 0, PROCESS), other;
	int serials[8];

	printf("%s\n", text(key));
	printf("%s\n", text(logon));
	printf("%s\n", text(ring));
	printf("%s\n", text(PROCESS));
	printf("%s\n", text(12345));
	CHECK("describe without room", ctl(KEYCTL_DESCRIBE, key, (long)buf, 3, 0));
	printf("[%s]\n", buf);
	CHECK("read", ctl(KEYCTL_READ, key, (long)buf, sizeof(buf), 0));
	printf("[%s]\n", buf);
	memset(buf, 0, sizeof(buf));
	CHECK("read without room", ctl(KEYCTL_READ, key, (long)buf, 3, 0));
	printf("[%s]\n", buf);
	CHECK("read length", ctl(KEYCTL_READ, key, 0, 0, 0));
	CHECK("read nowhere", ctl(KEYCTL_READ, key, 8, 10, 0));
	CHECK("read logon", ctl(KEYCTL_READ, logon, (long)buf, sizeof(buf), 0));
	CHECK("read nothing", ctl(KEYCTL_READ, 12345, (long)buf, sizeof(buf), 0));
	CHECK("update", ctl(KEYCTL_UPDATE, key, (long)"newer", 5, 0));
	CHECK("read", ctl(KEYCTL_READ, key, (long)buf, sizeof(buf), 0));
	printf("[%.5s]\n", buf);
	CHECK("update to nothing", ctl(KEYCTL_UPDATE, key, 0, 0, 0));
	CHECK("update by too much", ctl(KEYCTL_UPDATE, key, (long)buf, 5000, 0));
	CHECK("update a keyring", ctl(KEYCTL_UPDATE, ring, (long)buf, 0, 0));
	CHECK("link", ctl(KEYCTL_LINK, key, ring, 0, 0));
	CHECK("link again", ctl(KEYCTL_LINK, key, ring, 0, 0));
	CHECK("link to a key", ctl(KEYCTL_LINK, ring, key, 0, 0));
	CHECK("link to itself", ctl(KEYCTL_LINK, ring, ring, 0, 0));
	CHECK("link nothing", ctl(KEYCTL_LINK, 12345, ring, 0, 0));
	CHECK("read a keyring", ctl(KEYCTL_READ, ring, (long)serials, sizeof(serials), 0));
	TRUE("holds the key", serials[0] == key);
	TRUE("search", ctl(KEYCTL_SEARCH, ring, (long)"user", (long)"key", 0) == key);
	CHECK("search nothing", ctl(KEYCTL_SEARCH, ring, (long)"user", (long)"nothing", 0));
	CHECK("search by type", ctl(KEYCTL_SEARCH, ring, (long)"logon", (long)"key", 0));
	CHECK("search in a key", ctl(KEYCTL_SEARCH, key, (long)"user", (long)"key", 0));
	TRUE("request", request("user", "key", NULL, 0) == key);
	CHECK("request nothing", request("user", "nothing", NULL, 0));
	CHECK("request unknown type", request("banana", "nothing", NULL, 0));
	CHECK("unlink", ctl(KEYCTL_UNLINK, key, ring, 0, 0));
	CHECK("unlink again", ctl(KEYCTL_UNLINK, key, ring, 0, 0));
	CHECK("unlink from a key", ctl(KEYCTL_UNLINK, key, logon, 0, 0));
	other = add("keyring", "other", NULL, 0, ring);
	CHECK("circle", ctl(KEYCTL_LINK, ring, other, 0, 0));
	TRUE("request to a keyring", request("user", "key", NULL, other) == key);
	CHECK("clear", ctl(KEYCTL_CLEAR, other, 0, 0, 0));
	CHECK("clear a key", ctl(KEYCTL_CLEAR, key, 0, 0, 0));
	CHECK("read a keyring", ctl(KEYCTL_READ, other, (long)serials, sizeof(serials), 0));
	CHECK("move nothing", ctl(KEYCTL_MOVE, key, ring, other, 0));
	CHECK("move", ctl(KEYCTL_MOVE, key, PROCESS, other, 0));
	CHECK("moved", ctl(KEYCTL_READ, other, 0, 0, 0));
	CHECK("move back", ctl(KEYCTL_MOVE, key, other, PROCESS, 1));
	CHECK("permissions", ctl(KEYCTL_SETPERM, key, 0x3f3f0000, 0, 0));
	CHECK("odd permissions", ctl(KEYCTL_SETPERM, key, 0x40000000, 0, 0));
	printf("%s\n", text(key));
	long hidden = add("user", "hidden", "x", 1, PROCESS);
	CHECK("hide", ctl(KEYCTL_SETPERM, hidden, 0x20000000, 0, 0));
	printf("%s\n", text(hidden));
	CHECK("read hidden", ctl(KEYCTL_READ, hidden, (long)buf, sizeof(buf), 0));
	CHECK("update hidden", ctl(KEYCTL_UPDATE, hidden, (long)"x", 1, 0));
	CHECK("label of hidden", ctl(KEYCTL_GET_SECURITY, hidden, (long)buf, sizeof(buf), 0));
	CHECK("timeout of hidden", ctl(KEYCTL_SET_TIMEOUT, hidden, 100, 0, 0));
	CHECK("show", ctl(KEYCTL_SETPERM, hidden, 0x3f3f0000, 0, 0));
	CHECK("owner", ctl(KEYCTL_CHOWN, key, -1, -1, 0));
	CHECK("timeout", ctl(KEYCTL_SET_TIMEOUT, key, 100, 0, 0));
	CHECK("no timeout", ctl(KEYCTL_SET_TIMEOUT, key, 0, 0, 0));
	CHECK("label", ctl(KEYCTL_GET_SECURITY, key, (long)buf, sizeof(buf), 0));
	CHECK("instantiate", ctl(KEYCTL_INSTANTIATE, key, 0, 0, 0));
	CHECK("negate", ctl(KEYCTL_NEGATE, key, 0, 0, 0));
	CHECK("authority", ctl(KEYCTL_ASSUME_AUTHORITY, 0, 0, 0, 0));
	CHECK("authority", ctl(KEYCTL_ASSUME_AUTHORITY, -1, 0, 0, 0));
	CHECK("authority", ctl(KEYCTL_ASSUME_AUTHORITY, key, 0, 0, 0));
	CHECK("default keyring", ctl(KEYCTL_SET_REQKEY_KEYRING, -1, 0, 0, 0));
	CHECK("default keyring", ctl(KEYCTL_SET_REQKEY_KEYRING, KEY_REQKEY_DEFL_PROCESS_KEYRING, 0, 0, 0));
	CHECK("default keyring", ctl(KEYCTL_SET_REQKEY_KEYRING, 0, 0, 0, 0));
	CHECK("default keyring", ctl(KEYCTL_SET_REQKEY_KEYRING, 99, 0, 0, 0));
	CHECK("unknown", ctl(999, 0, 0, 0, 0));
	CHECK("revoke", ctl(KEYCTL_REVOKE, key, 0, 0, 0));
	CHECK("read revoked", ctl(KEYCTL_READ, key, (long)buf, sizeof(buf), 0));
	CHECK("update revoked", ctl(KEYCTL_UPDATE, key, (long)"x", 1, 0));
	CHECK("request revoked", request("user", "key", NULL, 0));
	CHECK("invalidate", ctl(KEYCTL_INVALIDATE, logon, 0, 0, 0));
	CHECK("invalid", ctl(KEYCTL_REVOKE, logon, 0, 0, 0));
	long soon = add("user", "soon", "x", 1, PROCESS);
	CHECK("timeout", ctl(KEYCTL_SET_TIMEOUT, soon, 1, 0, 0));
	sleep_ms(1100);
	CHECK("expired", ctl(KEYCTL_READ, soon, 0, 0, 0));
}

static void *in_thread(void *arg)
{
	WORKS("thread's keyring", ctl(KEYCTL_GET_KEYRING_ID, THREAD, 0, 0, 0));
	TRUE("process's keyring", ctl(KEYCTL_GET_KEYRING_ID, PROCESS, 0, 0, 0) == *(long *)arg);
	WORKS("made", ctl(KEYCTL_GET_KEYRING_ID, THREAD, 1, 0, 0));
	return NULL;
}

static void rings(void)
{
	pthread_t thread;
	long session, process;

	WORKS("no thread keyring", ctl(KEYCTL_GET_KEYRING_ID, THREAD, 0, 0, 0));
	WORKS("no process keyring", ctl(KEYCTL_GET_KEYRING_ID, PROCESS, 0, 0, 0));
	WORKS("group keyring", ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_GROUP_KEYRING, 1, 0, 0));
	WORKS("authority", ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_REQKEY_AUTH_KEY, 1, 0, 0));
	WORKS("requestor", ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_REQUESTOR_KEYRING, 1, 0, 0));
	process = ctl(KEYCTL_GET_KEYRING_ID, PROCESS, 1, 0, 0);
	printf("%s\n", text(process));
	pthread_create(&thread, NULL, in_thread, &process);
	pthread_join(thread, NULL);
	session = ctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0);
	printf("%s\n", text(session));
	TRUE("joined", ctl(KEYCTL_GET_KEYRING_ID, SESSION, 0, 0, 0) == session);
	WORKS("key of the session", add("user", "of the session", "x", 1, SESSION));
	IN_CHILD("child", {
		TRUE("same session", ctl(KEYCTL_GET_KEYRING_ID, SESSION, 0, 0, 0) == session);
		WORKS("finds it", request("user", "of the session", NULL, 0));
		WORKS("no process keyring", ctl(KEYCTL_GET_KEYRING_ID, PROCESS, 0, 0, 0));
		WORKS("another session", ctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0));
		WORKS("finds it no more", request("user", "of the session", NULL, 0));
	});
	TRUE("still joined", ctl(KEYCTL_GET_KEYRING_ID, SESSION, 0, 0, 0) == session);
	session = ctl(KEYCTL_JOIN_SESSION_KEYRING, (long)"guest test", 0, 0, 0);
	printf("%s\n", text(session));
	CHECK("name with a dot", ctl(KEYCTL_JOIN_SESSION_KEYRING, (long)".x", 0, 0, 0));
	CHECK("name nowhere", ctl(KEYCTL_JOIN_SESSION_KEYRING, 8, 0, 0, 0));
}

static void another_user(void)
{
	long key = add("user", "mine", "x", 1, SESSION);
	char buf[8];

	MUST(ctl(KEYCTL_SETPERM, key, 0x3f3f0001, 0, 0));
	IN_CHILD("another user", {
		MUST(ctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0));
		MUST(setresuid(3456, 3456, 3456));
		printf("%s\n", text(key));
		CHECK("read", ctl(KEYCTL_READ, key, (long)buf, sizeof(buf), 0));
		CHECK("update", ctl(KEYCTL_UPDATE, key, (long)"y", 1, 0));
		CHECK("permissions", ctl(KEYCTL_SETPERM, key, 0, 0, 0));
		CHECK("revoke", ctl(KEYCTL_REVOKE, key, 0, 0, 0));
		long own = add("user", "own", "x", 1, PROCESS);
		CHECK("give away", ctl(KEYCTL_CHOWN, own, 0, -1, 0));
		int made = 0;
		char name[16];
		for (; made < 300; made++) {
			snprintf(name, sizeof(name), "k%d", made);
			if (add("user", name, "x", 1, PROCESS) == -1)
				break;
		}
		WORKS("too many", add("user", "more", "x", 1, PROCESS));
		TRUE("many", made > 150 && made < 200);
	});
}

int main(void)
{
	rings();
	adds();
	controls();
	another_user();
	return 0;
}
