/* SPDX-License-Identifier: Apache-2.0 */
/* Runs one command in a micro-VM, writes to its stdin, prints what it says and how it ended. */
#include <lumina.h>
#include <stdio.h>
#include <string.h>

static int fail(const char *what, const struct lum_error *err)
{
    fprintf(stderr, "hello: %s: %s\n", what, err->text);
    return 125;
}

/* Gives the command its input, copies its output to stdout and waits for its end. */
static int talk(lum_exec *exec, struct lum_exit_status *status, struct lum_error *err)
{
    static const char greeting[] = "hello from the host\n";
    char buf[4096];
    size_t size;
    int rc = lum_exec_write(exec, greeting, strlen(greeting), err);

    if (rc == 0)
        rc = lum_exec_close_stdin(exec, err);
    while (rc == 0) {
        rc = lum_exec_read(exec, LUM_STDOUT, buf, sizeof(buf), -1, &size, err);
        if (rc < 0 || size == 0)
            break;
        fwrite(buf, 1, size, stdout);
    }
    return rc < 0 ? rc : lum_exec_wait(exec, -1, status, err);
}

int main(void)
{
    static const char *const argv[] = {"tr", "a-z", "A-Z", NULL};
    struct lum_vm_options vm_options = LUM_VM_OPTIONS_INIT;
    struct lum_exec_options exec_options = LUM_EXEC_OPTIONS_INIT;
    struct lum_exit_status status;
    struct lum_error err;
    lum_vm *vm = NULL;
    lum_exec *exec = NULL;
    int result;

    vm_options.memory_bytes = (uint64_t)128 << 20;
    exec_options.argv = argv;
    exec_options.flags = LUM_EXEC_STDIN;

    if (lum_vm_create(&vm_options, &vm, &err) < 0) {
        result = fail("create", &err);
    } else if (lum_vm_start(vm, 120000, &err) < 0) {
        result = fail("start", &err);
    } else if (lum_vm_exec(vm, &exec_options, &exec, &err) < 0) {
        result = fail("run tr", &err);
    } else if (talk(exec, &status, &err) < 0) {
        result = fail("talk to tr", &err);
    } else {
        printf("backend %s, exit status %d\n", lum_vm_backend(vm), (int)status.exit_code);
        result = status.exit_code;
    }
    lum_exec_free(exec); /* before its VM; NULL is allowed */
    lum_vm_free(vm);
    return result;
}
