/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spawn bench. T0 is the call of lum_vm_create, T1 the guest's first exit or the first byte of
 * a command's output. Several kinds of spawn take turns in one run, each round in a new random
 * order, so that what else the machine does meets all of them alike and rounds compare as pairs.
 *
 *     spawn [options] KIND...
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kinds.h"

#define MAX_VARIANTS 16u
#define MAX_JAILS    4u

static const char usage[] =
    "usage: spawn [options] KIND...\n"
    "  guest       through the library, a tiny guest: to its first exit\n"
    "  output      through the library, Linux: to the first byte of a command's output\n"
    "  floor       the bare system calls of `guest`; floor-jail, floor-net: in namespaces\n"
    "  qemu        QEMU's microvm, Linux: to the first byte of the output\n"
    "Kinds take turns; without one: guest floor floor-jail.\n"
    "  -n N                spawns of each kind (100), --warmup N before them (5)\n"
    "  --backend NAME      of guest and output (kvm for guest)\n"
    "  --jail LIST         of guest and output: default,seccomp,off (the library's default)\n"
    "  --memory MIB        of the guest (128)\n"
    "  --payload FILE --floor PROGRAM   (beside this program)\n"
    "  --kernel FILE --rootfs FILE      of output; --initrd FILE --qemu PROGRAM  of qemu\n"
    "  --filter N          instructions of floor-jail's filter (128)\n"
    "  --gap MS            between two spawns, on top of the wait for the end of the last (5)\n"
    "  --seed N            of the order (1)\n"
    "  --keep-vm           an empty VM stays open: on a host without any, the first one costs "
    "more\n"
    "  --json\n";

typedef int spawn_fn(const struct spawn_config *config, struct sample *sample, char why[WHY_SIZE]);

static const struct kind {
    const char *name;
    spawn_fn *spawn;
    bool has_jail;
} kinds[] = {
    {"guest", spawn_guest, true},          {"output", spawn_output, true},
    {"floor", spawn_floor, false},         {"floor-jail", spawn_floor_jail, false},
    {"floor-net", spawn_floor_net, false}, {"qemu", spawn_qemu, false},
};

struct variant {
    const struct kind *kind;
    struct spawn_config config;
    struct series series;
};

struct run {
    struct variant variants[MAX_VARIANTS];
    size_t n_variants;
    char *jails[MAX_JAILS]; /* none: the library's default */
    size_t n_jails;
    unsigned n, warmup, gap_ms;
    uint64_t seed;
    bool json, keep_vm;
};

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/*
 * Until every process of the last spawn has been taken apart: its end would be paid by the next
 * one. The library reaps its own; here they are only waited for.
 */
static void settle(unsigned gap_ms)
{
    const struct timespec gap = {.tv_sec = gap_ms / 1000, .tv_nsec = gap_ms % 1000 * 1000000};
    const struct timespec moment = {.tv_nsec = 100000};
    siginfo_t info;

    while (waitid(P_ALL, 0, &info, WEXITED | WNOWAIT | __WALL) == 0 || errno == EINTR)
        nanosleep(&moment, NULL);
    nanosleep(&gap, NULL);
}

static uint64_t cpu_ns(const struct rusage *usage_now)
{
    uint64_t s = (uint64_t)usage_now->ru_utime.tv_sec + (uint64_t)usage_now->ru_stime.tv_sec;
    uint64_t us = (uint64_t)usage_now->ru_utime.tv_usec + (uint64_t)usage_now->ru_stime.tv_usec;

    return s * 1000000000u + us * 1000u;
}

/* KVM switches parts of itself on for the first VM of a host and off after the last one. */
static int keep_vm(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0 || ioctl(kvm, KVM_CREATE_VM, 0) < 0) {
        fprintf(stderr, "spawn: --keep-vm: %s\n", strerror(errno));
        return -1;
    }
    return 0; /* both stay open until the end */
}

/* One spawn of a variant; counted when it is not a warm-up. */
static int spawn_one(struct variant *v, unsigned gap_ms, bool counted)
{
    struct sample sample = {.n_marks = 0};
    struct rusage before, after;
    char why[WHY_SIZE] = "";

    getrusage(RUSAGE_CHILDREN, &before);
    if (v->kind->spawn(&v->config, &sample, why) < 0) {
        fprintf(stderr, "spawn: %s: %s\n", v->series.name, why);
        return -1;
    }
    settle(gap_ms);
    getrusage(RUSAGE_CHILDREN, &after);
    sample.faults = (uint64_t)(after.ru_minflt - before.ru_minflt);
    sample.cpu_ns = cpu_ns(&after) - cpu_ns(&before);
    return counted ? series_add(&v->series, &sample) : 0;
}

static int measure(struct run *run)
{
    size_t order[MAX_VARIANTS];

    for (size_t i = 0; i < run->n_variants; i++)
        order[i] = i;
    for (unsigned round = 0; round < run->warmup + run->n; round++) {
        for (size_t i = run->n_variants; i > 1; i--) {
            size_t j = next_random(&run->seed) % i, kept = order[i - 1];
            order[i - 1] = order[j];
            order[j] = kept;
        }
        for (size_t i = 0; i < run->n_variants; i++)
            if (spawn_one(&run->variants[order[i]], run->gap_ms, round >= run->warmup) < 0)
                return -1;
    }
    return 0;
}

static void print(const struct run *run)
{
    if (!run->json) {
        for (size_t i = 0; i < run->n_variants; i++)
            series_print(&run->variants[i].series, stdout);
        return;
    }
    fputs("{\"variants\": [", stdout);
    for (size_t i = 0; i < run->n_variants; i++) {
        fputs(i ? ",\n" : "\n", stdout);
        series_print_json(&run->variants[i].series, stdout);
    }
    fputs("\n]}\n", stdout);
}

/* ---- options ---- */

static int add_variant(struct run *run, const struct spawn_config *config, const struct kind *kind,
                       const char *jail)
{
    struct variant *v = &run->variants[run->n_variants];
    char name[48];

    if (run->n_variants == MAX_VARIANTS) {
        fputs("spawn: too many kinds\n", stderr);
        return -1;
    }
    snprintf(name, sizeof(name), "%s%s%s", kind->name, jail ? " jail=" : "", jail ? jail : "");
    v->kind = kind;
    v->config = *config;
    v->config.jail = jail;
    if (kind->spawn == spawn_guest && !v->config.backend)
        v->config.backend = "kvm";
    run->n_variants++;
    return series_init(&v->series, name, run->n);
}

static int add_kind(struct run *run, const struct spawn_config *config, const char *name)
{
    const struct kind *kind = NULL;
    int rc = 0;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].name, name) == 0)
            kind = &kinds[i];
    if (!kind) {
        fprintf(stderr, "spawn: %s: no such kind\n%s", name, usage);
        return -1;
    }
    if (!kind->has_jail || run->n_jails == 0)
        return add_variant(run, config, kind, NULL);
    for (size_t i = 0; i < run->n_jails && rc == 0; i++)
        rc = add_variant(run, config, kind, run->jails[i]);
    return rc;
}

static int take_jails(struct run *run, char *list)
{
    for (char *at = list; (run->jails[run->n_jails] = strsep(&at, ","));)
        if (++run->n_jails == MAX_JAILS)
            break;
    return 0;
}

static bool take_number(const char *text, unsigned least, unsigned *ret_number)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (end == text || *end || n < least || n > 1000000)
        return false;
    *ret_number = (unsigned)n;
    return true;
}

/* What lies beside this program. */
static const char *beside(const char *dir, const char *name)
{
    char *path;

    return asprintf(&path, "%s/%s", dir, name) < 0 ? name : path;
}

static char *own_dir(void)
{
    char buf[4096];
    ssize_t n = readlink("/proc/self/exe", buf, sizeof(buf) - 1);

    buf[n > 0 ? n : 0] = '\0';
    char *slash = strrchr(buf, '/');
    if (slash)
        *slash = '\0';
    return strdup(slash ? buf : ".");
}

enum {
    OPT_WARMUP = 256,
    OPT_BACKEND,
    OPT_JAIL,
    OPT_MEMORY,
    OPT_PAYLOAD,
    OPT_FLOOR,
    OPT_KERNEL,
    OPT_ROOTFS,
    OPT_INITRD,
    OPT_QEMU,
    OPT_FILTER,
    OPT_GAP,
    OPT_SEED,
    OPT_KEEP_VM,
    OPT_JSON,
    OPT_HELP
};

static const struct option options[] = {
    {"warmup", required_argument, NULL, OPT_WARMUP},
    {"backend", required_argument, NULL, OPT_BACKEND},
    {"jail", required_argument, NULL, OPT_JAIL},
    {"memory", required_argument, NULL, OPT_MEMORY},
    {"payload", required_argument, NULL, OPT_PAYLOAD},
    {"floor", required_argument, NULL, OPT_FLOOR},
    {"kernel", required_argument, NULL, OPT_KERNEL},
    {"rootfs", required_argument, NULL, OPT_ROOTFS},
    {"initrd", required_argument, NULL, OPT_INITRD},
    {"qemu", required_argument, NULL, OPT_QEMU},
    {"filter", required_argument, NULL, OPT_FILTER},
    {"gap", required_argument, NULL, OPT_GAP},
    {"seed", required_argument, NULL, OPT_SEED},
    {"keep-vm", no_argument, NULL, OPT_KEEP_VM},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* 0 go on, 1 all said, -1 wrong. */
static int take_option(struct run *run, struct spawn_config *config, int option, char *value)
{
    unsigned seed = 0;
    bool good = true;

    switch (option) {
    case 'n': good = take_number(value, 1, &run->n); break;
    case OPT_WARMUP: good = take_number(value, 0, &run->warmup); break;
    case OPT_MEMORY: good = take_number(value, 1, &config->memory_mib); break;
    case OPT_FILTER: good = take_number(value, 16, &config->filter_insns); break;
    case OPT_GAP: good = take_number(value, 0, &run->gap_ms); break;
    case OPT_SEED:
        good = take_number(value, 1, &seed);
        run->seed = seed;
        break;
    case OPT_BACKEND: config->backend = value; break;
    case OPT_JAIL: return take_jails(run, value);
    case OPT_PAYLOAD: config->payload = value; break;
    case OPT_FLOOR: config->floor = value; break;
    case OPT_KERNEL: config->kernel = value; break;
    case OPT_ROOTFS: config->rootfs = value; break;
    case OPT_INITRD: config->initrd = value; break;
    case OPT_QEMU: config->qemu = value; break;
    case OPT_KEEP_VM: run->keep_vm = true; break;
    case OPT_JSON: run->json = true; break;
    case OPT_HELP: fputs(usage, stdout); return 1;
    default: return -1;
    }
    if (!good)
        fprintf(stderr, "spawn: %s: not a number of use here\n", value);
    return good ? 0 : -1;
}

int main(int argc, char **argv)
{
    static struct run run = {.n = 100, .warmup = 5, .gap_ms = 5, .seed = 1};
    char *dir = own_dir();
    struct spawn_config config = {.payload = beside(dir, "payload"),
                                  .floor = beside(dir, "floor_child"),
                                  .qemu = "qemu-system-x86_64",
                                  .memory_mib = 128,
                                  .filter_insns = 128};
    static const char *const standard[] = {"guest", "floor", "floor-jail"};
    int option, rc = 0;

    free(dir);
    while (rc == 0 && (option = getopt_long(argc, argv, "n:", options, NULL)) != -1)
        rc = take_option(&run, &config, option, optarg);
    if (rc != 0)
        return rc > 0 ? 0 : 125;
    for (int i = optind; i < argc && rc == 0; i++)
        rc = add_kind(&run, &config, argv[i]);
    for (size_t i = 0; optind == argc && i < 3 && rc == 0; i++)
        rc = add_kind(&run, &config, standard[i]);
    if (rc < 0)
        return 125;
    if ((run.keep_vm && keep_vm() < 0) || measure(&run) < 0)
        return 1;
    print(&run);
    for (size_t i = 0; i < run.n_variants; i++)
        series_done(&run.variants[i].series);
    return 0;
}
