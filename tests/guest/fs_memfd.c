/* memfd_create: seals, shared mappings, sizes. */
#include "common.h"

int main(void)
{
	struct stat st;
	char *map;
	int fd = memfd_create("name", MFD_ALLOW_SEALING | MFD_CLOEXEC);

	TRUE("made", fd >= 0);
	CHECK("seals", fcntl(fd, F_GET_SEALS));
	CHECK("cloexec", fcntl(fd, F_GETFD));
	CHECK("write", write(fd, "hello", 5));
	SHOW(fstat(fd, &st));
	printf("%o nlink %ld size %ld\n", st.st_mode, (long)st.st_nlink, (long)st.st_size);
	SHOW(ftruncate(fd, 8192));
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	TRUE("mapped", map != MAP_FAILED);
	memcpy(map + 4096, "mapped", 6);
	char buf[8] = "";
	CHECK("read back", pread(fd, buf, 6, 4096));
	printf("%s\n", buf);
	CHECK("pwrite", pwrite(fd, "W", 1, 0));
	CHECK("seen in mapping", map[0] == 'W');
	CHECK("seal write while mapped", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	munmap(map, 8192);
	CHECK("seal grow", fcntl(fd, F_ADD_SEALS, F_SEAL_GROW));
	SHOW(ftruncate(fd, 10000));
	CHECK("extend by write", pwrite(fd, "x", 1, 9000));
	CHECK("seal shrink", fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	SHOW(ftruncate(fd, 1));
	CHECK("seal write", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	CHECK("write sealed", pwrite(fd, "x", 1, 0));
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK("map sealed", map == MAP_FAILED ? -1 : 0);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	TRUE("map sealed for reading", map != MAP_FAILED);
	CHECK("seal seal", fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL));
	CHECK("seal more", fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	CHECK("seals", fcntl(fd, F_GET_SEALS));
	CHECK("unknown seal", fcntl(fd, F_ADD_SEALS, 0x1000));
	CHECK("bad flags", memfd_create("x", 0x100));
	CHECK("fault", memfd_create((char *)8, 0));
	fd = memfd_create("", 0);
	CHECK("unsealable", fcntl(fd, F_GET_SEALS));
	CHECK("seal it", fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	CHECK("not memory", fcntl(0, F_GET_SEALS));
	return 0;
}
