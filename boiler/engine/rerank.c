/* The last step of every search: of the candidates that an engine found, the k nearest, ties by row number.
 *
 * In C because in numpy this is two dozen calls on a few dozen numbers each: little to compute, but a third of the cost
 * of a request (exp/records/service.md). rerank_numpy.py does the same where this module is not compiled. Distances are
 * computed in double precision, as the length of the difference. Buffers are checked before they are read or written,
 * and no reference is top. The GIL is released while rows are compared: other threads must not change the arguments.
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Variants for newer processors, chosen when the module is loaded; other compilers and systems get the plain one. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__gnu_linux__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define FOR_EACH_PROCESSOR
#endif

#if defined(__GNUC__)
#define FETCH(ADDRESS) __builtin_prefetch(ADDRESS)
#else
#define FETCH(ADDRESS)
#endif

#define GROUPS 512 /* at least so many groups of scores, whose maxima give the threshold */
#define BLOCK 64   /* scores compared with the threshold at a time */
#define AHEAD 32   /* candidates prefetched: their vectors are scattered over memory */
#define LANES 8
#define INT8_LARGEST 127

/* -------------------------------------------------------------------------------------------------- the k nearest */

typedef struct {
    float distance;
    int64_t row;
} Candidate;

/* A heap of the k nearest so far, the farthest on top. */
typedef struct {
    Candidate *all;
    Py_ssize_t n, k;
} TopK;

static int farther(Candidate a, Candidate b)
{
    return a.distance > b.distance || (a.distance == b.distance && a.row > b.row);
}

static void sift_down(Candidate *all, Py_ssize_t n, Py_ssize_t at)
{
    Candidate one = all[at];
    for (Py_ssize_t below = 2 * at + 1; below < n; below = 2 * at + 1) {
        if (below + 1 < n && farther(all[below + 1], all[below]))
            below++;
        if (!farther(all[below], one))
            break;
        all[at] = all[below];
        at = below;
    }
    all[at] = one;
}

static void offer(TopK *top, Candidate one)
{
    if (top->n == top->k) {
        if (farther(top->all[0], one)) {
            top->all[0] = one;
            sift_down(top->all, top->n, 0);
        }
        return;
    }
    Py_ssize_t at = top->n++;
    for (; at && farther(one, top->all[(at - 1) / 2]); at = (at - 1) / 2)
        top->all[at] = top->all[(at - 1) / 2];
    top->all[at] = one;
}

/* Empty the heap into the result, nearest first. */
static void drain(TopK *top, int64_t *rows, float *distances)
{
    while (top->n) {
        Candidate last = top->all[0];
        top->all[0] = top->all[--top->n];
        if (top->n)
            sift_down(top->all, top->n, 0);
        rows[top->n] = last.row;
        distances[top->n] = last.distance;
    }
}

/* ------------------------------------------------------------------------------------------- distances and scores */

static float distance(const float *row, const float *query, Py_ssize_t dim)
{
    double sums[LANES] = {0}, total = 0;
    Py_ssize_t at = 0;
    for (; at + LANES <= dim; at += LANES)
        for (int lane = 0; lane < LANES; lane++) {
            double apart = (double)row[at + lane] - (double)query[at + lane];
            sums[lane] += apart * apart;
        }
    for (; at < dim; at++) {
        double apart = (double)row[at] - (double)query[at];
        total += apart * apart;
    }
    for (int lane = 0; lane < LANES; lane++)
        total += sums[lane];
    return (float)sqrt(total);
}

static void fetch(const float *row, Py_ssize_t dim)
{
    for (Py_ssize_t at = 0; at < dim; at += 16) /* a line of most caches */
        FETCH(row + at);
}

/* Offer every row whose score is within the slack of the k-th highest. Instead of the k-th highest score itself, the
 * k-th highest of the maxima of many groups is used: it is at most as high, so no row is missed, few are added, and it
 * is much cheaper to find. `highest`: space for one score per group. */
#define DEFINE_SCAN(NAME, SCORE, LOWERED)                                                                              \
    FOR_EACH_PROCESSOR static void NAME##_groups(const SCORE *scores, Py_ssize_t n_groups, Py_ssize_t size,            \
                                                 SCORE *highest)                                                       \
    {                                                                                                                  \
        for (Py_ssize_t group = 0; group < n_groups; group++)                                                          \
            highest[group] = scores[group];                                                                            \
        for (Py_ssize_t part = 1; part < size; part++) {                                                               \
            const SCORE *own = scores + part * n_groups;                                                               \
            for (Py_ssize_t group = 0; group < n_groups; group++)                                                      \
                highest[group] = own[group] > highest[group] ? own[group] : highest[group];                            \
        }                                                                                                              \
    }                                                                                                                  \
                                                                                                                       \
    FOR_EACH_PROCESSOR static int NAME##_any(const SCORE *scores, SCORE bound)                                         \
    {                                                                                                                  \
        int any = 0;                                                                                                   \
        for (int at = 0; at < BLOCK; at++)                                                                             \
            any |= scores[at] >= bound;                                                                                \
        return any;                                                                                                    \
    }                                                                                                                  \
                                                                                                                       \
    /* The k-th highest: a heap of the k highest so far, the lowest on top. */                                         \
    static SCORE NAME##_kth(SCORE *all, Py_ssize_t n, Py_ssize_t k)                                                    \
    {                                                                                                                  \
        for (Py_ssize_t begin = k / 2; begin-- > 0;)                                                                   \
            NAME##_sift(all, k, begin);                                                                                \
        for (Py_ssize_t at = k; at < n; at++)                                                                          \
            if (all[at] > all[0]) {                                                                                    \
                all[0] = all[at];                                                                                      \
                NAME##_sift(all, k, 0);                                                                                \
            }                                                                                                          \
        return all[0];                                                                                                 \
    }                                                                                                                  \
                                                                                                                       \
    static void NAME(const SCORE *scores, Py_ssize_t n, double slack, const float *vectors, const float *query,        \
                     Py_ssize_t dim, SCORE *highest, TopK *top)                                                        \
    {                                                                                                                  \
        Py_ssize_t n_groups = groups_of(top->k), size = n / n_groups;                                                  \
        if (size < 2) {                                                                                                \
            n_groups = n;                                                                                              \
            size = 1;                                                                                                  \
        }                                                                                                              \
        NAME##_groups(scores, n_groups, size, highest);                                                                \
        SCORE bound = LOWERED(NAME##_kth(highest, n_groups, top->k), slack);                                           \
        for (Py_ssize_t begin = 0; begin < n; begin += BLOCK) {                                                        \
            if (begin + BLOCK <= n && !NAME##_any(scores + begin, bound))                                              \
                continue;                                                                                              \
            for (Py_ssize_t row = begin; row < n && row < begin + BLOCK; row++)                                        \
                if (scores[row] >= bound)                                                                              \
                    offer(top, (Candidate){distance(vectors + row * dim, query, dim), row});                           \
        }                                                                                                              \
    }

#define DEFINE_SIFT(NAME, SCORE)                                                                                       \
    static void NAME##_sift(SCORE *all, Py_ssize_t n, Py_ssize_t at)                                                   \
    {                                                                                                                  \
        SCORE one = all[at];                                                                                           \
        for (Py_ssize_t below = 2 * at + 1; below < n; below = 2 * at + 1) {                                           \
            if (below + 1 < n && all[below + 1] < all[below])                                                          \
                below++;                                                                                               \
            if (!(all[below] < one))                                                                                   \
                break;                                                                                                 \
            all[at] = all[below];                                                                                      \
            at = below;                                                                                                \
        }                                                                                                              \
        all[at] = one;                                                                                                 \
    }

static Py_ssize_t groups_of(Py_ssize_t k)
{
    return 8 * k > GROUPS ? 8 * k : GROUPS;
}

static int32_t lowered_whole(int32_t score, double slack)
{
    double bound = floor((double)score - slack);
    return bound < INT32_MIN ? INT32_MIN : (int32_t)bound;
}

static float lowered_float(float score, double slack)
{
    return nextafterf((float)((double)score - slack), -INFINITY);
}

DEFINE_SIFT(scan_whole, int32_t)
DEFINE_SIFT(scan_float, float)
DEFINE_SCAN(scan_whole, int32_t, lowered_whole)
DEFINE_SCAN(scan_float, float, lowered_float)

/* ------------------------------------------------------------------------------------------------------ arguments */

typedef enum { FLOAT32, FLOAT64, INT8, INT64, SCORE } Type;

/* Their letters in the buffer protocol. The size of an integer of some letter depends on the platform. */
static const struct {
    const char *name, *letters;
    Py_ssize_t size;
} types[] = {[FLOAT32] = {"float32", "f", 4},
             [FLOAT64] = {"float64", "d", 8},
             [INT8] = {"int8", "b", 1},
             [INT64] = {"int64", "ilq", 8},
             [SCORE] = {"int32 or float32", "filq", 4}};

/* An argument: its element type and number of dimensions. */
typedef struct {
    const char *name;
    Type type;
    int ndim;
    int is_written;
} Argument;

static int is_of(const Py_buffer *view, Type type)
{
    const char *format = view->format ? view->format : "B";
    if (*format == '@' || *format == '=')
        format++;
    return *format && !format[1] && strchr(types[type].letters, *format) && view->itemsize == types[type].size &&
           (uintptr_t)view->buf % (size_t)view->itemsize == 0;
}

static void release(Py_buffer *views, int n)
{
    while (n--)
        if (views[n].obj)
            PyBuffer_Release(&views[n]);
}

/* Take the buffers of all arguments: 0, or -1 with an exception set and no buffer held. The argument at `optional` may
 * be None, which leaves its view empty. */
static int take(PyObject *const *args, const Argument *wanted, Py_buffer *views, int n, int optional)
{
    for (int at = 0; at < n; at++) {
        views[at].obj = NULL;
        if (at == optional && args[at] == Py_None)
            continue;
        int flags = PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (wanted[at].is_written ? PyBUF_WRITABLE : 0);
        if (PyObject_GetBuffer(args[at], &views[at], flags) < 0) {
            release(views, at);
            return -1;
        }
        if (views[at].ndim != wanted[at].ndim || !is_of(&views[at], wanted[at].type)) {
            PyErr_Format(PyExc_ValueError,
                         "%s: an aligned array of %d dimensions of %s is expected, not of %d of the format '%s'",
                         wanted[at].name, wanted[at].ndim, types[wanted[at].type].name, views[at].ndim,
                         views[at].format ? views[at].format : "B");
            release(views, at + 1);
            return -1;
        }
    }
    return 0;
}

static PyObject *fail(Py_buffer *views, int n, PyObject *kind, const char *why)
{
    release(views, n);
    PyErr_SetString(kind, why);
    return NULL;
}

static PyObject *return_none(Py_buffer *views, int n)
{
    release(views, n);
    Py_RETURN_NONE;
}

static int wrong_count(Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return 0;
    PyErr_Format(PyExc_TypeError, "%zd arguments are expected, not %zd", wanted, given);
    return 1;
}

/* ------------------------------------------------------------------------------------------------------ functions */

/* nearest(vectors, queries, query_of or None, candidates, rows, distances) */
static PyObject *nearest(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    static const Argument wanted[] = {{"vectors", FLOAT32, 2, 0}, {"queries", FLOAT32, 2, 0}, {"query_of", INT64, 1, 0},
                                    {"candidates", INT64, 1, 0}, {"rows", INT64, 2, 1}, {"distances", FLOAT32, 2, 1}};
    enum { VECTORS, QUERIES, QUERY_OF, CANDIDATES, ROWS, DISTANCES, N };
    Py_buffer views[N];
    if (wrong_count(n_args, N) || take(args, wanted, views, N, QUERY_OF) < 0)
        return NULL;
    Py_ssize_t n = views[VECTORS].shape[0], dim = views[VECTORS].shape[1];
    Py_ssize_t n_queries = views[ROWS].shape[0], k = views[ROWS].shape[1];
    Py_ssize_t n_candidates = views[CANDIDATES].shape[0];
    const int64_t *query_of = views[QUERY_OF].obj ? views[QUERY_OF].buf : NULL, *candidates = views[CANDIDATES].buf;
    const float *vectors = views[VECTORS].buf, *queries = views[QUERIES].buf;
    int64_t *rows = views[ROWS].buf;
    float *distances = views[DISTANCES].buf;
    if (views[QUERIES].shape[0] != n_queries || views[QUERIES].shape[1] != dim ||
        views[DISTANCES].shape[0] != n_queries || views[DISTANCES].shape[1] != k ||
        (query_of ? views[QUERY_OF].shape[0] != n_candidates : n_queries != 1) || k < 1)
        return fail(views, N, PyExc_ValueError, "the shapes do not match");
    for (Py_ssize_t at = 0; at < n_candidates; at++) {
        if (candidates[at] < 0 || candidates[at] >= n)
            return fail(views, N, PyExc_IndexError, "a candidate is not a row");
        if (query_of && (query_of[at] < (at ? query_of[at - 1] : 0) || query_of[at] >= n_queries))
            return fail(views, N, PyExc_IndexError, "query_of is not rising, or not a query");
    }
    TopK top = {malloc(sizeof(Candidate) * (size_t)k), 0, k};
    if (!top.all) {
        release(views, N);
        return PyErr_NoMemory();
    }
    int short_of = 0;
    Py_BEGIN_ALLOW_THREADS
    Py_ssize_t at = 0;
    for (Py_ssize_t ahead = 0; ahead < AHEAD && ahead < n_candidates; ahead++)
        fetch(vectors + candidates[ahead] * dim, dim);
    for (Py_ssize_t one = 0; one < n_queries && !short_of; one++) {
        for (; at < n_candidates && (!query_of || query_of[at] == one); at++) {
            if (at + AHEAD < n_candidates)
                fetch(vectors + candidates[at + AHEAD] * dim, dim);
            float apart = distance(vectors + candidates[at] * dim, queries + one * dim, dim);
            offer(&top, (Candidate){apart, candidates[at]});
        }
        short_of = top.n < k;
        drain(&top, rows + one * k, distances + one * k);
    }
    Py_END_ALLOW_THREADS
    free(top.all);
    if (short_of)
        return fail(views, N, PyExc_ValueError, "a query has fewer candidates than neighbours");
    return return_none(views, N);
}

/* nearest_scored(vectors, queries, scores, slack, rows, distances) */
static PyObject *nearest_scored(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    static const Argument wanted[] = {{"vectors", FLOAT32, 2, 0}, {"queries", FLOAT32, 2, 0}, {"scores", SCORE, 2, 0},
                                    {"slack", FLOAT64, 1, 0}, {"rows", INT64, 2, 1}, {"distances", FLOAT32, 2, 1}};
    enum { VECTORS, QUERIES, SCORES, SLACK, ROWS, DISTANCES, N };
    Py_buffer views[N];
    if (wrong_count(n_args, N) || take(args, wanted, views, N, -1) < 0)
        return NULL;
    Py_ssize_t n = views[VECTORS].shape[0], dim = views[VECTORS].shape[1];
    Py_ssize_t n_queries = views[ROWS].shape[0], k = views[ROWS].shape[1];
    const float *vectors = views[VECTORS].buf, *queries = views[QUERIES].buf;
    const double *slack = views[SLACK].buf;
    int64_t *rows = views[ROWS].buf;
    float *distances = views[DISTANCES].buf;
    if (views[QUERIES].shape[0] != n_queries || views[QUERIES].shape[1] != dim ||
        views[DISTANCES].shape[0] != n_queries || views[DISTANCES].shape[1] != k ||
        views[SCORES].shape[0] != n_queries || views[SCORES].shape[1] != n || views[SLACK].shape[0] != n_queries ||
        k < 1 || k > n)
        return fail(views, N, PyExc_ValueError, "the shapes do not match");
    for (Py_ssize_t one = 0; one < n_queries; one++)
        if (!(slack[one] >= 0))
            return fail(views, N, PyExc_ValueError, "a slack is negative or NaN");
    int is_float = is_of(&views[SCORES], FLOAT32);
    Py_ssize_t most_groups = groups_of(k) > n / 2 ? n : groups_of(k);
    TopK top = {malloc(sizeof(Candidate) * (size_t)k), 0, k};
    void *highest = malloc(sizeof(int32_t) * (size_t)most_groups); /* as large as a float */
    if (!top.all || !highest) {
        free(top.all);
        free(highest);
        release(views, N);
        return PyErr_NoMemory();
    }
    int short_of = 0;
    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t one = 0; one < n_queries && !short_of; one++) {
        const float *query = queries + one * dim;
        if (is_float)
            scan_float((const float *)views[SCORES].buf + one * n, n, slack[one], vectors, query, dim, highest, &top);
        else
            scan_whole((const int32_t *)views[SCORES].buf + one * n, n, slack[one], vectors, query, dim, highest, &top);
        short_of = top.n < k;
        drain(&top, rows + one * k, distances + one * k);
    }
    Py_END_ALLOW_THREADS
    free(top.all);
    free(highest);
    if (short_of)
        return fail(views, N, PyExc_ValueError, "a query has fewer candidates than neighbours, or scores that are NaN");
    return return_none(views, N);
}

/* rounded(queries, step, lost, margin, whole, slack) */
static PyObject *rounded(PyObject *module, PyObject *const *args, Py_ssize_t n_args)
{
    static const Argument wanted[] = {{"queries", FLOAT32, 2, 0}, {"whole", INT8, 2, 1}, {"slack", FLOAT64, 1, 1}};
    enum { QUERIES, WHOLE, SLACK, N };
    double numbers[3]; /* step, lost, margin */
    if (wrong_count(n_args, N + 3))
        return NULL;
    for (int at = 0; at < 3; at++) {
        numbers[at] = PyFloat_AsDouble(args[1 + at]);
        if (numbers[at] == -1.0 && PyErr_Occurred())
            return NULL;
    }
    double step = numbers[0], lost = numbers[1], margin = numbers[2];
    PyObject *const arrays[] = {args[0], args[4], args[5]};
    Py_buffer views[N];
    if (take(arrays, wanted, views, N, -1) < 0)
        return NULL;
    Py_ssize_t n_queries = views[QUERIES].shape[0], dim = views[QUERIES].shape[1];
    if (views[WHOLE].shape[0] != n_queries || views[WHOLE].shape[1] != dim || views[SLACK].shape[0] != n_queries ||
        !(step > 0))
        return fail(views, N, PyExc_ValueError, "the shapes do not match, or the step is not positive");
    const float *query = views[QUERIES].buf;
    int8_t *whole = views[WHOLE].buf;
    double *slack = views[SLACK].buf;
    for (Py_ssize_t one = 0; one < n_queries; one++, query += dim, whole += dim) {
        double largest = 0, square = 0;
        for (Py_ssize_t at = 0; at < dim; at++)
            largest = fabs(query[at]) > largest ? fabs(query[at]) : largest;
        double own = largest > 0 ? largest / INT8_LARGEST : 1;
        for (Py_ssize_t at = 0; at < dim; at++) {
            double steps = query[at] / own, nearest_whole = rint(steps);
            whole[at] = fabs(nearest_whole) <= INT8_LARGEST ? (int8_t)nearest_whole : 0; /* else NaN or infinite */
            square += (steps - nearest_whole) * (steps - nearest_whole);
        }
        /* A product of vectors differs from the product of their rounded forms by at most the row's rounding error plus
         * the query's rounding error times the length of the rounded row (Cauchy-Schwarz, twice). Two products are
         * compared, hence the factor 2. */
        slack[one] = (2 * (lost + (1 + lost) * own * sqrt(square)) + margin) / (own * step);
    }
    return return_none(views, N);
}

static PyMethodDef methods[] = {
    {"nearest", (PyCFunction)(void (*)(void))nearest, METH_FASTCALL,
     "nearest(vectors, queries, query_of, candidates, rows, distances)\n--\n\n"
     "Write the k nearest of the candidates of each query into rows and distances."},
    {"nearest_scored", (PyCFunction)(void (*)(void))nearest_scored, METH_FASTCALL,
     "nearest_scored(vectors, queries, scores, slack, rows, distances)\n--\n\n"
     "Write the k nearest rows into rows and distances; scores rank the rows up to some slack."},
    {"rounded", (PyCFunction)(void (*)(void))rounded, METH_FASTCALL,
     "rounded(queries, step, lost, margin, whole, slack)\n--\n\n"
     "Round queries to int8, and write how much a product can be off by that."},
    {NULL, NULL, 0, NULL}};

static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "rerank",
                                        .m_doc = "Exact distances of candidates, and the k nearest.",
                                        .m_methods = methods, .m_slots = slots};

PyMODINIT_FUNC PyInit_rerank(void)
{
    return PyModuleDef_Init(&definition);
}
