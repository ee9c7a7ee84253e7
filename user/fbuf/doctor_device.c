// SPDX-License-Identifier: GPL-2.0
/* fbuf doctor: may this process open /dev/fbuf? */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"

#define ABOUT		"device"
#define GROUP		"fbuf"	/* to whom user/dist gives the device */
#define GROUPS_MAX	1024

/* Is it among the groups of this process? */
static bool in_group(gid_t group)
{
	gid_t groups[GROUPS_MAX];
	int i, nr = getgroups(GROUPS_MAX, groups);

	for (i = 0; i < nr; i++) {
		if (groups[i] == group)
			return true;
	}
	return getegid() == group;
}

/* Is it among those that the user gets when he logs in? */
static bool given_group(const struct passwd *pw, gid_t group)
{
	gid_t groups[GROUPS_MAX];
	int i, nr = GROUPS_MAX;

	if (getgrouplist(pw->pw_name, pw->pw_gid, groups, &nr) < 0)
		return false;
	for (i = 0; i < nr; i++) {
		if (groups[i] == group)
			return true;
	}
	return false;
}

/* The device has a group that may use it. */
static void find_no_member(struct doctor *d, const struct stat *st)
{
	const struct passwd *pw = getpwuid(geteuid());
	const struct group *gr = getgrgid(st->st_gid);
	const char *group = gr ? gr->gr_name : NULL;
	const char *user = pw ? pw->pw_name : NULL;

	if (!user || !group) {
		doctor_find(d, DOCTOR_WRONG, ABOUT,
			    "You (uid %u) may not open %s: it is for the group %u.",
			    geteuid(), FBUF_DEVICE, st->st_gid);
		doctor_type(d, "sudo setpriv --reuid %u --regid %u --clear-groups PROGRAM",
			    geteuid(), st->st_gid);
		return;
	}
	if (given_group(pw, st->st_gid)) {
		doctor_find(d, DOCTOR_WRONG, ABOUT,
			    "You (%s) are in the group %s, but this session began before you were: log in again, or for one shell type:",
			    user, group);
		doctor_type(d, "newgrp %s", group);
		return;
	}
	doctor_find(d, DOCTOR_WRONG, ABOUT,
		    "You (%s) may not open %s: it is for the group %s, and you are not in it. Have yourself added, and log in again:",
		    user, FBUF_DEVICE, group);
	doctor_type(d, "sudo usermod -aG %s %s", group, user);
}

/* It is there, and may not be opened. */
static void find_forbidden(struct doctor *d, const struct stat *st)
{
	if ((st->st_mode & 060) == 060 && !in_group(st->st_gid)) {
		find_no_member(d, st);
		return;
	}
	if (!geteuid()) {
		doctor_find(d, DOCTOR_WRONG, ABOUT,
			    "Even root may not open %s here: a container forbids it. Start the container with:",
			    FBUF_DEVICE);
		doctor_type(d, "--device %s", FBUF_DEVICE);
		return;
	}
	doctor_find(d, DOCTOR_WRONG, ABOUT,
		    "You may not open %s: only its owner may (mode %04o). udev's rule that gives it to the group %s is %s:",
		    FBUF_DEVICE, st->st_mode & 07777, GROUP,
		    getgrnam(GROUP) ? "not in force" : "not installed; in fbuf's source tree");
	if (!getgrnam(GROUP))
		doctor_type(d, "sudo make install-user");
	doctor_type(d, "sudo udevadm control --reload && sudo udevadm trigger %s",
		    FBUF_DEVICE);
}

static void find_missing(struct doctor *d)
{
	/* That the module is not loaded is said. */
	if (access("/sys/module/fbuf", F_OK))
		return;
	doctor_find(d, DOCTOR_WRONG, ABOUT,
		    "The module is loaded, and there is no %s here. In a container, which has a /dev of its own, start that with \"--device %s\"; else, as root:",
		    FBUF_DEVICE, FBUF_DEVICE);
	doctor_type(d, "sudo mknod -m 600 %s c $(tr : ' ' </sys/class/misc/fbuf/dev)",
		    FBUF_DEVICE);
}

void doctor_device(struct doctor *d)
{
	struct stat st;
	int fd, err;

	if (stat(FBUF_DEVICE, &st)) {
		find_missing(d);
		return;
	}
	fd = open(FBUF_DEVICE, O_RDWR | O_CLOEXEC);
	if (fd >= 0) {
		close(fd);
		doctor_find(d, DOCTOR_OK, ABOUT, "You may open %s.", FBUF_DEVICE);
		return;
	}
	err = errno;
	if (err == EACCES || err == EPERM) {
		find_forbidden(d, &st);
		return;
	}
	doctor_find(d, DOCTOR_WRONG, ABOUT,
		    "%s is not the module's: %s. Load the module anew:",
		    FBUF_DEVICE, strerror(err));
	doctor_type(d, "sudo rm %s; sudo modprobe -r fbuf; sudo modprobe fbuf",
		    FBUF_DEVICE);
}
