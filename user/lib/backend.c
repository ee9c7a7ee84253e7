// SPDX-License-Identifier: LGPL-2.1-or-later
/* What is under new pools: the module, or soft*.c. */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <fbuf/backend.h>

#include "lib.h"

#define LIB_FEATURES	(FBUF_FEATURE_HEAP | FBUF_FEATURE_MSG |		\
			 FBUF_FEATURE_VIEW | FBUF_FEATURE_QUEUE |	\
			 FBUF_FEATURE_CHANNEL)
#define MODULE_FEATURES	(FBUF_FEATURE_REFERENCE | FBUF_FEATURE_PROCESSES |	\
			 FBUF_FEATURE_FILE | FBUF_FEATURE_URING |		\
			 FBUF_FEATURE_SECURE)

static unsigned int backend_set;	/* atomic */

/* What is wanted, or 0 for the module if it can be had. */
static unsigned int backend_wanted(void)
{
	unsigned int set = __atomic_load_n(&backend_set, __ATOMIC_RELAXED);
	const char *env;

	if (set)
		return set;
	env = secure_getenv("FBUF_BACKEND");
	if (env && !strcmp(env, "module"))
		return FBUF_BACKEND_MODULE;
	if (env && !strcmp(env, "user"))
		return FBUF_BACKEND_USER;
	return 0;
}

/* A control fd, or an error. */
static int device_open(void)
{
	int saved = errno;
	int fd = open(FBUF_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		fd = -errno;
		errno = saved;
	}
	return fd;
}

/* It is not there, or not for us; and not that something is short. */
static bool device_is_missing(int err)
{
	return err == -ENOENT || err == -ENOTDIR || err == -ENXIO ||
	       err == -ENODEV || err == -EACCES || err == -EPERM;
}

int lib_pool_create(const struct fbuf_pool_create *create)
{
	unsigned int wanted = backend_wanted();
	struct fbuf_pool_create arg = *create;
	int ctl, fd;

	if (wanted == FBUF_BACKEND_USER)
		return soft_create(create);
	ctl = device_open();
	if (ctl < 0)
		return !wanted && device_is_missing(ctl) ? soft_create(create) :
							   ctl;
	fd = lib_ioctl(ctl, FBUF_IOC_POOL_CREATE, &arg);
	lib_close(ctl);
	return fd;
}

unsigned int fbuf_backend(void)
{
	unsigned int wanted = backend_wanted();
	int ctl;

	if (wanted == FBUF_BACKEND_USER)
		return FBUF_BACKEND_USER;
	ctl = device_open();
	if (ctl >= 0) {
		lib_close(ctl);
		return FBUF_BACKEND_MODULE;
	}
	return !wanted && device_is_missing(ctl) ? FBUF_BACKEND_USER : 0;
}

int fbuf_backend_set(unsigned int backend)
{
	if (backend > FBUF_BACKEND_USER)
		return -EINVAL;
	__atomic_store_n(&backend_set, backend, __ATOMIC_RELAXED);
	return 0;
}

unsigned int fbuf_pool_backend(const struct fbuf_pool *pool)
{
	return pool->soft ? FBUF_BACKEND_USER : FBUF_BACKEND_MODULE;
}

const char *fbuf_backend_name(unsigned int backend)
{
	switch (backend) {
	case FBUF_BACKEND_MODULE:
		return "module";
	case FBUF_BACKEND_USER:
		return "user";
	default:
		return "none";
	}
}

/* Only a pool tells, and the least one will do. */
static uint64_t module_features(void)
{
	struct fbuf_pool_create create = {
		.size = sizeof(create),
		.buf_size = getpagesize(),
		.nr_bufs = 1,
		.node = -1,
	};
	struct fbuf_info info = { .size = sizeof(info) };
	int ctl = device_open(), fd, ret;

	if (ctl < 0)
		return 0;
	fd = lib_ioctl(ctl, FBUF_IOC_POOL_CREATE, &create);
	lib_close(ctl);
	if (fd < 0)
		return 0;
	ret = lib_ioctl(fd, FBUF_IOC_INFO, &info);
	lib_close(fd);
	return ret < 0 ? 0 : info.features | MODULE_FEATURES | LIB_FEATURES;
}

uint64_t fbuf_features(unsigned int backend)
{
	if (!backend)
		backend = fbuf_backend();
	switch (backend) {
	case FBUF_BACKEND_MODULE:
		return module_features();
	case FBUF_BACKEND_USER:
		return soft_features() | LIB_FEATURES;
	default:
		return 0;
	}
}
