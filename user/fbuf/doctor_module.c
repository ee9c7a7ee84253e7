// SPDX-License-Identifier: GPL-2.0
/* fbuf doctor: is the module there, is it loaded, and if not, may it be? */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor.h"

#define ABOUT		"module"
#define MODULES		"/lib/modules"
#define COMPRESSED	4	/* MODULE_INIT_COMPRESSED_FILE of finit_module(2) */
#define SECURE_BOOT	"/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
/* What DKMS signs with, on Debian 12 and 13. */
#define MOK_KEY		"/var/lib/dkms/mok.key"
#define MOK_PUB		"/var/lib/dkms/mok.pub"

/* The line of modules.dep that is for our module is "extra/fbuf.ko.xz: ...". */
static bool is_ours(const char *line)
{
	const char *name, *end = strchr(line, ':');

	if (!end)
		return false;
	for (name = end; name > line && name[-1] != '/';)
		name--;
	return !strncmp(name, "fbuf.ko", 7) &&
	       (name + 7 == end || name[7] == '.');
}

/* The module's file, as modprobe knows it; empty if it does not. */
static void find_file(char path[PATH_MAX], const char *modules)
{
	char *line = NULL;
	size_t room = 0;
	FILE *f;

	snprintf(path, PATH_MAX, "%s/modules.dep", modules);
	f = fopen(path, "re");
	*path = '\0';
	if (!f)
		return;
	while (getline(&line, &room, f) > 0) {
		if (!is_ours(line))
			continue;
		line[strcspn(line, ":")] = '\0';
		if (*line == '/')
			snprintf(path, PATH_MAX, "%s", line);
		else
			snprintf(path, PATH_MAX, "%s/%s", modules, line);
		break;
	}
	free(line);
	fclose(f);
}

/* Another kernel for which it is installed; empty if there is none. */
static void find_other(char release[NAME_MAX])
{
	char path[PATH_MAX];
	glob_t all;
	size_t i;

	*release = '\0';
	if (glob(MODULES "/*", 0, NULL, &all))
		return;
	for (i = 0; i < all.gl_pathc && !*release; i++) {
		find_file(path, all.gl_pathv[i]);
		if (*path)
			snprintf(release, NAME_MAX, "%s",
				 strrchr(all.gl_pathv[i], '/') + 1);
	}
	globfree(&all);
}

static bool secure_boot_is_on(void)
{
	char value[5] = "";
	int fd = open(SECURE_BOOT, O_RDONLY | O_CLOEXEC);
	bool on;

	if (fd < 0)
		return false;
	/* Four bytes of attributes come first. */
	on = read(fd, value, sizeof(value)) == sizeof(value) && value[4] == 1;
	close(fd);
	return on;
}

/* "none [integrity] confidentiality" */
static bool lockdown_is_on(void)
{
	char line[DOCTOR_LINE];

	return doctor_read(line, "/sys/kernel/security/lockdown") &&
	       strchr(line, '[') && !strstr(line, "[none]");
}

static bool sig_enforce_is_on(void)
{
	char line[DOCTOR_LINE];

	return doctor_read(line, "/sys/module/module/parameters/sig_enforce") &&
	       *line == 'Y';
}

bool doctor_wants_signature(void)
{
	return lockdown_is_on() || sig_enforce_is_on();
}

/* Who demands signatures, as the subject of a sentence. */
static const char *who_demands(void)
{
	if (secure_boot_is_on())
		return "Secure Boot is on, and this kernel";
	if (lockdown_is_on())
		return "Lockdown is on, and this kernel";
	if (sig_enforce_is_on())
		return "module.sig_enforce is on, and this kernel";
	return "This kernel";
}

/*
 * A key of this machine's own, told to the firmware; the module is signed with it.
 * DKMS signs by itself what it builds.
 */
static void type_signing(struct doctor *d, const char *file)
{
	bool by_dkms = strstr(file, "/dkms/");

	if (access(MOK_PUB, F_OK))
		doctor_type(d, "sudo dkms generate_mok");
	doctor_type(d, "sudo mokutil --import %s", MOK_PUB);
	doctor_type(d, "sudo reboot    # and there: Enroll MOK");
	if (by_dkms)
		doctor_type(d, "sudo dkms autoinstall");
	else
		doctor_type(d, "sudo %s/$(uname -r)/build/scripts/sign-file \\\n"
			    "               sha256 %s %s \\\n"
			    "               %s", MODULES, MOK_KEY, MOK_PUB, file);
	doctor_type(d, "sudo modprobe fbuf");
}

/* @what: who refused it, and why */
static void find_unsigned(struct doctor *d, const char *file, const char *what,
			  int err)
{
	doctor_find(d, DOCTOR_WRONG, ABOUT,
		    "%s (%s): %s loads only modules that are signed with a key that it knows. Enrol a key of this machine's own, with which the module is signed:",
		    what, strerror(err), who_demands());
	type_signing(d, file);
}

static void find_refused(struct doctor *d, const char *file, int err)
{
	switch (err) {
	case EKEYREJECTED:
	case ENOKEY:
	case EBADMSG:
	case ENOPKG:
		find_unsigned(d, file, "The kernel refused the module for its signature",
			      err);
		return;
	case EPERM:
		if (!lockdown_is_on())
			break;
		find_unsigned(d, file, "Lockdown refused the module", err);
		return;
	case ENOEXEC:
		doctor_find(d, DOCTOR_WRONG, ABOUT,
			    "The kernel refused the module (%s): it was built for another kernel. Build it for this one, in fbuf's source tree:",
			    strerror(err));
		doctor_type(d, "make && sudo make install");
		return;
	}
	doctor_find(d, DOCTOR_WRONG, ABOUT,
		    "The module does not load: %s. The kernel says why at the end of its log:",
		    strerror(err));
	doctor_type(d, "sudo dmesg | tail");
}

/* With what else it needs. */
static bool modprobe(void)
{
	int status = -1, null;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		signal(SIGPIPE, tool_sigpipe);
		execlp("modprobe", "modprobe", "fbuf", NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status;
}

/* As modprobe does, which keeps the errno to itself: 0 or that. */
static int load_file(const char *file)
{
	bool compressed = strcmp(file + strlen(file) - 3, ".ko");
	int fd, err;

	if (modprobe())
		return 0;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	err = syscall(SYS_finit_module, fd, "", compressed ? COMPRESSED : 0);
	err = err && errno != EEXIST ? errno : 0;
	close(fd);
	return err;
}

/* It is there for this kernel, and not loaded. */
static void find_not_loaded(struct doctor *d, const char *file, bool load)
{
	int err;

	if (load && geteuid()) {
		doctor_find(d, DOCTOR_WRONG, ABOUT,
			    "The module is not loaded, and only root may load it.");
		doctor_type(d, "sudo fbuf doctor --load");
		return;
	}
	if (load) {
		err = load_file(file);
		if (err)
			find_refused(d, file, err);
		else
			doctor_find(d, DOCTOR_OK, ABOUT,
				    "The module was not loaded; now it is.");
		return;
	}
	if (doctor_wants_signature()) {
		doctor_find(d, DOCTOR_WRONG, ABOUT,
			    "The module is not loaded. %s loads only modules that are signed with a key that it knows. See what it says of this one:",
			    who_demands());
		doctor_type(d, "sudo fbuf doctor --load");
		return;
	}
	doctor_find(d, DOCTOR_WRONG, ABOUT, "The module is not loaded.");
	doctor_type(d, "sudo modprobe fbuf");
}

static void find_not_installed(struct doctor *d, const char *release)
{
	char other[NAME_MAX];

	find_other(other);
	if (*other) {
		doctor_find(d, DOCTOR_WRONG, ABOUT,
			    "The module is installed for Linux %s, and not for %s, which runs. Boot that, or in fbuf's source tree build the module for this one:",
			    other, release);
		doctor_type(d, "make && sudo make install && sudo modprobe fbuf");
		return;
	}
	doctor_find(d, DOCTOR_WRONG, ABOUT,
		    "The module is not installed for any kernel. In fbuf's source tree, with the headers of this kernel:");
	doctor_type(d, "make && sudo make install && sudo modprobe fbuf");
}

/* A library that programs may find, which need not be the one that is built in here. */
static void find_library(struct doctor *d)
{
	const char *(*version)(void);
	void *lib = dlopen("libfbuf.so.0", RTLD_LAZY | RTLD_LOCAL);

	if (!lib)
		return;
	*(void **)&version = dlsym(lib, "fbuf_version");
	if (!version || strcmp(version(), FBUF_VERSION))
		doctor_find(d, DOCTOR_NOTE, "library",
			    "Programs find the library in version %s, and this tool is of %s: one was installed without the other. In the source tree of the newer one:",
			    version ? version() : "0", FBUF_VERSION);
	else
		doctor_find(d, DOCTOR_OK, "library",
			    "The library that programs find is of version %s, as this tool.",
			    FBUF_VERSION);
	if (!version || strcmp(version(), FBUF_VERSION))
		doctor_type(d, "sudo make install-user");
	dlclose(lib);
}

/* It is loaded, by what the kernel tells of it. */
static void find_loaded(struct doctor *d)
{
	char version[DOCTOR_LINE];

	if (!doctor_read(version, "/sys/module/fbuf/version"))
		snprintf(version, sizeof(version), "unknown");
	if (!strcmp(version, FBUF_VERSION)) {
		doctor_find(d, DOCTOR_OK, ABOUT,
			    "The module is loaded, version %s.", version);
		return;
	}
	doctor_find(d, DOCTOR_NOTE, ABOUT,
		    "The module that is loaded is of version %s, and this tool of %s: what is new in one of them is not to be had. If the module was installed anew, load it anew, with no program using it:",
		    version, FBUF_VERSION);
	doctor_type(d, "sudo modprobe -r fbuf && sudo modprobe fbuf");
}

void doctor_module(struct doctor *d, bool load)
{
	char file[PATH_MAX], modules[PATH_MAX];
	struct utsname uts;

	uname(&uts);
	snprintf(modules, sizeof(modules), MODULES "/%s", uts.release);
	find_file(file, modules);
	if (!access("/sys/module/fbuf", F_OK))
		find_loaded(d);
	else if (*file)
		find_not_loaded(d, file, load);
	else
		find_not_installed(d, uts.release);
	find_library(d);
}
