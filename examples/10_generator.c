/* SPDX-License-Identifier: BSD-2-Clause
 *
 * 10_generator: do two trees have the same leaves in the same order? (The "same fringe" problem.)
 *
 * A generator walks a tree by plain recursion and gives out leaf after leaf. Two of them, asked in
 * turn, compare two trees of different shapes without a list of either, and stop at the first
 * difference. A third generator takes values, too: it is handed numbers and gives out their mean so
 * far.
 *
 * The known answers: a tree that leans to the left and one that leans to the right, with the same
 * 1,000 leaves, are the same; with another leaf 78 they differ there, after 78 leaves were looked
 * at; the mean of 1 ... 1000 is 500.5.
 */
#include <kith.h>
#include <stdio.h>
#include <stdlib.h>

enum { LEAVES = 1000, ODD_ONE = 77 };

struct tree {
    struct tree *left; /* NULL: a leaf */
    struct tree *right;
    int leaf;
};

/* A tree of leaves[from] ... leaves[to - 1]; `lean` of each ten go to the left. */
static struct tree *tree_new(const int *leaves, int from, int to, int lean)
{
    struct tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL)
        abort();
    tree->leaf = leaves[from];
    if (to - from > 1) {
        int middle = from + 1 + (to - from - 2) * lean / 10;
        tree->left = tree_new(leaves, from, middle, lean);
        tree->right = tree_new(leaves, middle, to, lean);
    }
    return tree;
}

static void tree_free(struct tree *tree)
{
    if (tree == NULL)
        return;
    tree_free(tree->left);
    tree_free(tree->right);
    free(tree);
}

/* ---- the leaves, one by one ---- */

/* Returns at once when the generator is being freed. */
static void walk(kith_gen *gen, struct tree *tree)
{
    if (kith_gen_closing(gen))
        return;
    if (tree->left == NULL) {
        kith_gen_yield(gen, &tree->leaf);
        return;
    }
    walk(gen, tree->left);
    walk(gen, tree->right);
}

static void leaves_of(kith_gen *gen, void *arg)
{
    walk(gen, arg);
}

/* How many leaves are the same before the first difference; *same: there is none. */
static int compare(kith_self *self, struct tree *a, struct tree *b, bool *same)
{
    kith_gen *leaves_a = kith_gen_new(self, leaves_of, a);
    kith_gen *leaves_b = kith_gen_new(self, leaves_of, b);
    int n = 0;
    for (;; n++) {
        void *x;
        void *y;
        kith_err end_a = kith_gen_next(leaves_a, NULL, &x);
        kith_err end_b = kith_gen_next(leaves_b, NULL, &y);
        *same = end_a == KITH_ECLOSED && end_b == KITH_ECLOSED;
        if (end_a != KITH_OK || end_b != KITH_OK || *(int *)x != *(int *)y)
            break;
    }
    kith_gen_free(leaves_a);
    kith_gen_free(leaves_b);
    return n;
}

/* ---- values in both directions ---- */

/* Is handed numbers, and gives out the mean of all so far. */
static void mean(kith_gen *gen, KITH_UNUSED void *arg)
{
    double sum = 0;
    double mean_now = 0;
    const int *number = kith_gen_yield(gen, &mean_now);
    for (int n = 1; number != NULL; n++) {
        sum += *number;
        mean_now = sum / n;
        number = kith_gen_yield(gen, &mean_now);
    }
}

static double mean_of(kith_self *self, int last)
{
    void *mean_now = NULL;
    kith_gen *gen = kith_gen_new(self, mean, NULL);
    kith_gen_next(gen, NULL, NULL); /* to its first yield */
    for (int i = 1; i <= last; i++)
        kith_gen_next(gen, &i, &mean_now);
    double result = mean_now != NULL ? *(double *)mean_now : 0;
    kith_gen_free(gen);
    return result;
}

/* ---- */

static bool check(const char *what, bool ok)
{
    printf("check: %s: %s\n", what, ok ? "ok" : "FAILED");
    return ok;
}

static void fringes(kith_self *self, KITH_UNUSED kith_co *co, KITH_UNUSED void *arg)
{
    int leaves[LEAVES];
    for (int i = 0; i < LEAVES; i++)
        leaves[i] = 3 * i;
    struct tree *left = tree_new(leaves, 0, LEAVES, 9);
    struct tree *right = tree_new(leaves, 0, LEAVES, 1);
    leaves[ODD_ONE]++;
    struct tree *other = tree_new(leaves, 0, LEAVES, 5);

    bool same;
    int n = compare(self, left, right, &same);
    bool ok = check("two shapes, 1000 leaves, all the same", same && n == LEAVES);
    n = compare(self, left, other, &same);
    ok = check("the first difference is leaf 78", !same && n == ODD_ONE) && ok;
    ok = check("the mean of 1 ... 1000 is 500.5", mean_of(self, 1000) == 500.5) && ok;

    tree_free(left);
    tree_free(right);
    tree_free(other);
    if (!ok)
        kith_fail(self, KITH_EFAILED);
}

int main(int argc, KITH_UNUSED char **argv)
{
    if (argc > 1) {
        fprintf(stderr, "usage: 10_generator\n");
        return 2;
    }
    return kith_main(NULL, fringes, NULL);
}
