/* Token numbers into the integers of each pair, and those into precision, recall and F1.

   The same method as ../engine_python.py, which explains it; the same words for the same things. Differences:
   n-grams are numbered level by level (a trigram is a numbered bigram and a token), which keeps their keys exact in
   64 bits; a long common subsequence runs in blocks of 64 reference tokens. */

#include "kernel.h"

enum { NOT_SHARED = -1, SEEN = -2, OUT_OF_MEMORY = -1 };
enum { PREDICTED_TOKENS, REFERRED_TOKENS, OVERLAP_1, OVERLAP_2, OVERLAP_3, LCS, LCS_SUM, NUM_COLUMNS };

/* A pair's token numbers: 0, 1, ... for the words that both texts have, NOT_SHARED for all others. */
typedef struct {
    int32_t *predicted, *referred;
    const bool *predicted_leads, *referred_leads;
    int64_t num_predicted, num_referred, num_shared;
} Pair;

/* Room for the longest pair of a chunk. */
typedef struct {
    int32_t *number_of;                     /* by token number of the chunk; NOT_SHARED between two pairs */
    int32_t *predicted, *referred;          /* of Pair */
    int32_t *predicted_ngrams, *referred_ngrams;
    int32_t *available;                     /* by number */
    int64_t *keys;                          /* hash table of n-grams: key ... */
    int32_t *numbers;                       /* ... and number */
    uint64_t *masks;                        /* by number and word of 64 rows: where in the reference it stands */
    uint64_t *rises;                        /* by column and word of 64 rows: where the table rises by one */
    uint8_t *carries;                       /* by column */
    bool *marked;                           /* by reference token: in the union of paths */
} Room;

static void renumber(Pair *pair, const int32_t *predicted, const int32_t *referred, int32_t *number_of) {
    pair->num_shared = 0;
    for (int64_t i = 0; i < pair->num_predicted; i++) number_of[predicted[i]] = SEEN;
    for (int64_t i = 0; i < pair->num_referred; i++) {
        if (number_of[referred[i]] == SEEN) number_of[referred[i]] = (int32_t)pair->num_shared++;
        pair->referred[i] = number_of[referred[i]];
    }
    for (int64_t i = 0; i < pair->num_predicted; i++) {
        int32_t number = number_of[predicted[i]];
        pair->predicted[i] = number == SEEN ? NOT_SHARED : number;
    }
    for (int64_t i = 0; i < pair->num_predicted; i++) number_of[predicted[i]] = NOT_SHARED;
}

static int64_t overlap_of_words(const Pair *pair, int32_t *available) {
    int64_t num_hits = 0;
    memset(available, 0, (size_t)pair->num_shared * sizeof *available);
    for (int64_t i = 0; i < pair->num_referred; i++)
        if (pair->referred[i] >= 0) available[pair->referred[i]]++;
    for (int64_t i = 0; i < pair->num_predicted; i++)
        if (pair->predicted[i] >= 0 && available[pair->predicted[i]] > 0) available[pair->predicted[i]]--, num_hits++;
    return num_hits;
}

/* Return the slot of a key, or the empty one where it belongs. */
static uint64_t slot_of(int64_t key, const int64_t *keys, uint64_t mask) {
    uint64_t slot = ((uint64_t)key * 0x9E3779B97F4A7C15u >> 32) & mask; /* Knuth: 2^64 / golden ratio */
    while (keys[slot] != key && keys[slot] >= 0) slot = (slot + 1) & mask;
    return slot;
}

/* Turn the numbers of (order - 1)-grams into numbers of n-grams, in place; return the clipped matches. */
static int64_t overlap_of_ngrams(const Pair *pair, int64_t order, Room *room) {
    int64_t num_referred = pair->num_referred - order + 1, num_predicted = pair->num_predicted - order + 1;
    int64_t num_slots = 16, num_hits = 0;
    int32_t num_distinct = 0;
    while (num_slots < num_referred * 2) num_slots *= 2;
    uint64_t mask = (uint64_t)(num_slots - 1);
    memset(room->keys, 0xFF, (size_t)num_slots * sizeof *room->keys);
    for (int64_t i = 0; i < num_referred; i++) {
        int64_t prefix = room->referred_ngrams[i], last = pair->referred[i + order - 1];
        room->referred_ngrams[i] = NOT_SHARED;
        if (prefix < 0 || last < 0) continue;
        uint64_t slot = slot_of(prefix << 32 | last, room->keys, mask);
        if (room->keys[slot] < 0) {
            room->keys[slot] = prefix << 32 | last, room->numbers[slot] = num_distinct;
            room->available[num_distinct++] = 0;
        }
        room->referred_ngrams[i] = room->numbers[slot];
        room->available[room->numbers[slot]]++;
    }
    for (int64_t i = 0; i < num_predicted; i++) {
        int64_t prefix = room->predicted_ngrams[i], last = pair->predicted[i + order - 1];
        room->predicted_ngrams[i] = NOT_SHARED;
        if (prefix < 0 || last < 0) continue;
        uint64_t slot = slot_of(prefix << 32 | last, room->keys, mask);
        if (room->keys[slot] < 0) continue;
        room->predicted_ngrams[i] = room->numbers[slot];
        if (room->available[room->numbers[slot]] > 0) room->available[room->numbers[slot]]--, num_hits++;
    }
    return num_hits;
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t num_bits(uint64_t bits) {
    int64_t num = 0;
    for (; bits; bits &= bits - 1) num++;
    return num;
}

static int64_t highest_bit(uint64_t bits) {
    int64_t place = 0;
    for (int width = 32; width; width /= 2)
        if (bits >> width) bits >>= width, place += width;
    return place;
}

/* One word of a column of the table: Hyyro's recurrence, with what the sum takes in and hands on. */
static uint64_t next_flat(uint64_t flat, uint64_t mask, uint8_t *carry) {
    uint64_t step = flat & mask, part = flat + step, total = part + *carry;
    *carry = (uint8_t)((part < flat) | (total < part));
    return total | (flat & ~mask);
}

static int64_t lcs_length(const Pair *pair, Room *room) {
    int64_t length = 0;
    memset(room->carries, 0, (size_t)pair->num_predicted);
    for (int64_t first = 0; first < pair->num_referred; first += 64) {
        int64_t num_rows = smaller(64, pair->num_referred - first);
        const int32_t *referred = pair->referred + first;
        uint64_t flat = ~UINT64_C(0); /* bit set: the table does not rise in that row */
        for (int64_t i = 0; i < num_rows; i++)
            if (referred[i] >= 0) room->masks[referred[i]] |= UINT64_C(1) << i;
        for (int64_t i = 0; i < pair->num_predicted; i++) /* a word that is not shared spills nothing, ever */
            if (pair->predicted[i] >= 0) flat = next_flat(flat, room->masks[pair->predicted[i]], &room->carries[i]);
        length += num_bits(~flat & (~UINT64_C(0) >> (64 - num_rows)));
        for (int64_t i = 0; i < num_rows; i++)
            if (referred[i] >= 0) room->masks[referred[i]] = 0;
    }
    return length;
}

/* One predicted sentence against one reference sentence. */
typedef struct { const int32_t *columns; int64_t num_columns, num_rows, num_words; } Table;

/* Return where, in one word of rows, the column's token stands. */
static uint64_t mask_of(const Table *table, const Room *room, int64_t column, int64_t word) {
    int32_t number = table->columns[column];
    return number >= 0 ? room->masks[number * table->num_words + word] : 0;
}

static void fill(const Table *table, Room *room) {
    for (int64_t column = 0; column < table->num_columns; column++) {
        uint64_t *rises = room->rises + column * table->num_words;
        uint8_t carry = 0;
        for (int64_t word = 0; word < table->num_words; word++) {
            uint64_t flat = column ? ~rises[word - table->num_words] : ~UINT64_C(0);
            rises[word] = ~next_flat(flat, mask_of(table, room, column, word), &carry);
        }
    }
}

/* Mark the rows that rouge-score's walk back through the table picks. */
static void walk(const Table *table, Room *room, bool *marked) {
    int64_t num_allowed = table->num_rows;
    for (int64_t column = table->num_columns - 1; column >= 0 && num_allowed > 0; column--) {
        const uint64_t *rises = room->rises + column * table->num_words;
        uint64_t allowed = ~UINT64_C(0) >> (63 - ((num_allowed - 1) & 63)), mask = 0, stops = 0;
        int64_t word = (num_allowed - 1) >> 6;
        for (;; word--, allowed = ~UINT64_C(0)) {
            mask = mask_of(table, room, column, word);
            stops = (mask | rises[word]) & allowed;
            if (stops || word == 0) break;
        }
        if (!stops) return;
        int64_t place = highest_bit(stops), row = word * 64 + place;
        bool matches = mask >> place & 1;
        if (matches) marked[row] = true;
        num_allowed = matches ? row : row + 1;
    }
}

static int64_t line_end(const bool *leads, int64_t start, int64_t size) {
    do start++; while (start < size && !leads[start]);
    return start;
}

static bool any_match(const Table *table, const Room *room) {
    uint64_t any = 0;
    for (int64_t column = 0; column < table->num_columns && !any; column++)
        for (int64_t word = 0; word < table->num_words; word++) any |= mask_of(table, room, column, word);
    return any != 0;
}

/* Return the hits of ROUGE-Lsum: per reference sentence the union of paths, clipped by the prediction's counts. */
static int64_t lcs_sum_hits(const Pair *pair, Room *room) {
    int64_t num_hits = 0;
    memset(room->marked, 0, (size_t)pair->num_referred);
    memset(room->available, 0, (size_t)pair->num_shared * sizeof *room->available);
    for (int64_t i = 0; i < pair->num_predicted; i++)
        if (pair->predicted[i] >= 0) room->available[pair->predicted[i]]++;
    for (int64_t first = 0, stop; first < pair->num_referred; first = stop) {
        stop = line_end(pair->referred_leads, first, pair->num_referred);
        const int32_t *rows = pair->referred + first;
        Table table = {NULL, 0, stop - first, (stop - first + 63) / 64};
        for (int64_t i = 0; i < table.num_rows; i++)
            if (rows[i] >= 0) room->masks[rows[i] * table.num_words + i / 64] |= UINT64_C(1) << (i % 64);
        for (int64_t start = 0, end; start < pair->num_predicted; start = end) {
            end = line_end(pair->predicted_leads, start, pair->num_predicted);
            table.columns = pair->predicted + start, table.num_columns = end - start;
            if (!any_match(&table, room)) continue;
            fill(&table, room);
            walk(&table, room, room->marked + first);
        }
        for (int64_t i = 0; i < table.num_rows; i++)
            if (rows[i] >= 0) room->masks[rows[i] * table.num_words + i / 64] = 0;
    }
    for (int64_t i = 0; i < pair->num_referred; i++) {
        int32_t number = pair->referred[i];
        if (room->marked[i] && room->available[number] > 0) room->available[number]--, num_hits++;
    }
    return num_hits;
}

static void count_pair(
    const Pair *pair, int64_t max_order, bool wants_lcs, bool wants_sum, Room *room, int64_t *counts) {
    counts[PREDICTED_TOKENS] = pair->num_predicted, counts[REFERRED_TOKENS] = pair->num_referred;
    if (max_order > 0) counts[OVERLAP_1] = overlap_of_words(pair, room->available);
    memcpy(room->predicted_ngrams, pair->predicted, (size_t)pair->num_predicted * sizeof(int32_t));
    memcpy(room->referred_ngrams, pair->referred, (size_t)pair->num_referred * sizeof(int32_t));
    for (int64_t order = 2; order <= max_order; order++)
        counts[OVERLAP_1 + order - 1] = overlap_of_ngrams(pair, order, room);
    bool is_one_line = line_end(pair->predicted_leads, 0, pair->num_predicted) >= pair->num_predicted &&
                       line_end(pair->referred_leads, 0, pair->num_referred) >= pair->num_referred;
    if (wants_lcs || (wants_sum && is_one_line)) counts[LCS] = lcs_length(pair, room);
    if (wants_sum) counts[LCS_SUM] = is_one_line ? counts[LCS] : lcs_sum_hits(pair, room);
}

/* ---- A chunk of pairs ---- */

typedef struct { int64_t text, shared, predicted_line, referred_line; } Longest;

static Longest find_longest(const Tokens *tokens, int64_t num_pairs) {
    Longest longest = {1, 1, 1, 1};
    for (int64_t text = 0; text < 2 * num_pairs; text++) {
        int64_t size = tokens->starts[text + 1] - tokens->starts[text];
        int64_t *line = text % 2 ? &longest.referred_line : &longest.predicted_line;
        longest.text = larger(longest.text, size);
        int64_t size_before = text % 2 ? tokens->starts[text] - tokens->starts[text - 1] : 0;
        longest.shared = larger(longest.shared, smaller(size, size_before));
        for (int64_t start = 0, end; start < size; start = end) {
            end = line_end(tokens->leads + tokens->starts[text], start, size);
            *line = larger(*line, end - start);
        }
    }
    return longest;
}

static void free_room(Room *room) {
    free(room->number_of), free(room->predicted), free(room->referred), free(room->predicted_ngrams);
    free(room->referred_ngrams), free(room->available), free(room->keys), free(room->numbers), free(room->masks);
    free(room->rises), free(room->carries), free(room->marked);
}

static bool make_room(Room *room, const Tokens *tokens, int64_t num_pairs, bool wants_sum) {
    Longest longest = find_longest(tokens, num_pairs);
    size_t text = (size_t)longest.text, num_numbers = (size_t)tokens->num_numbers + 1;
    size_t words_per_column = wants_sum ? (size_t)(longest.referred_line + 63) / 64 : 1;
    *room = (Room){
        malloc(num_numbers * 4), malloc(text * 4), malloc(text * 4), malloc(text * 4), malloc(text * 4),
        malloc(text * 4), malloc((text * 4 + 16) * 8), malloc((text * 4 + 16) * 4),
        calloc((size_t)longest.shared * words_per_column, 8),
        malloc((size_t)longest.predicted_line * words_per_column * 8), malloc(text), malloc(text)};
    if (room->number_of) memset(room->number_of, 0xFF, num_numbers * 4);
    return room->number_of && room->predicted && room->referred && room->predicted_ngrams &&
           room->referred_ngrams && room->available && room->keys && room->numbers && room->masks && room->rises &&
           room->carries && room->marked;
}

static void count_tokens(
    const Tokens *tokens, int64_t num_pairs, int64_t max_order, bool wants_lcs, bool wants_sum, Room *room,
    int64_t *counts) {
    for (int64_t i = 0; i < num_pairs; i++) {
        const int64_t *starts = tokens->starts + 2 * i;
        Pair pair = {room->predicted, room->referred, tokens->leads + starts[0], tokens->leads + starts[1],
                     starts[1] - starts[0], starts[2] - starts[1], 0};
        renumber(&pair, tokens->numbers + starts[0], tokens->numbers + starts[1], room->number_of);
        count_pair(&pair, max_order, wants_lcs, wants_sum, room, counts + i * NUM_COLUMNS);
    }
}

/* Return 0; OUT_OF_MEMORY; or 1 + the pair whose table of common subsequences has more than `max_cells`.

   text       of size bytes: the texts in lower case, prediction and reference by turns, each ended by a NUL,
              with some other byte for every character beyond ASCII
   max_order  n of the longest n-grams to count, 0 to 3
   counts     num_pairs rows of NUM_COLUMNS zeros, written here */
int64_t kilowit_rouge_count(
    const uint8_t *text, int64_t size, int64_t num_pairs, int64_t use_stemmer, int64_t max_order, int64_t wants_lcs,
    int64_t wants_sum, int64_t max_cells, int64_t *counts) {
    size_t most_tokens = (size_t)size / 2 + 1;
    Tokens tokens = {malloc(most_tokens * sizeof(int32_t)), malloc(most_tokens),
                     malloc((size_t)(2 * num_pairs + 1) * sizeof(int64_t)), 0};
    Room room = {0};
    int64_t result = OUT_OF_MEMORY;
    if (tokens.numbers && tokens.leads && tokens.starts &&
        kilowit_tokenize(text, size, 2 * num_pairs, use_stemmer != 0, &tokens)) {
        result = 0;
        for (int64_t i = 0; i < num_pairs && (wants_lcs || wants_sum) && !result; i++) {
            const int64_t *starts = tokens.starts + 2 * i;
            counts[i * NUM_COLUMNS] = starts[1] - starts[0], counts[i * NUM_COLUMNS + 1] = starts[2] - starts[1];
            if ((starts[1] - starts[0]) * (starts[2] - starts[1]) > max_cells) result = 1 + i;
        }
        if (!result && !make_room(&room, &tokens, num_pairs, wants_sum != 0)) result = OUT_OF_MEMORY;
        if (!result) count_tokens(&tokens, num_pairs, max_order, wants_lcs != 0, wants_sum != 0, &room, counts);
    }
    free_room(&room);
    free(tokens.numbers), free(tokens.leads), free(tokens.starts);
    return result;
}

/* Precision, recall and F1 of one ROUGE type from its column of counts, by rouge-score's operations in its order. */
void kilowit_rouge_fractions(
    const int64_t *counts, int64_t num_pairs, int64_t column, int64_t order, double *precision, double *recall,
    double *fmeasure) {
    for (int64_t i = 0; i < num_pairs; i++, counts += NUM_COLUMNS) {
        double p = (double)counts[column] / (double)larger(counts[PREDICTED_TOKENS] - order + 1, 1);
        double r = (double)counts[column] / (double)larger(counts[REFERRED_TOKENS] - order + 1, 1);
        precision[i] = p, recall[i] = r;
        fmeasure[i] = counts[column] ? 2 * p * r / (p + r) : 0.0;
    }
}
