/* Texts into token numbers, stemmed or not, in one pass over their bytes.

   Words are numbered through a hash table that compares letters, so no two are ever confused; each distinct word
   is stemmed once. The stemmer is that of ../porter.py, rule for rule. */

#include "kernel.h"

enum { NO_MEMORY = -1, MIN_STEMMED_LETTERS = 4 };

/* ---- Porter's stemmer: see porter.py ---- */

typedef struct { const char *suffix, *replacement; } Rule;

static const Rule IRREGULAR[] = {
    {"sky", "sky"}, {"skies", "sky"}, {"dying", "die"}, {"lying", "lie"}, {"tying", "tie"}, {"news", "news"},
    {"innings", "inning"}, {"inning", "inning"}, {"outings", "outing"}, {"outing", "outing"},
    {"cannings", "canning"}, {"canning", "canning"}, {"howe", "howe"}, {"proceed", "proceed"},
    {"exceed", "exceed"}, {"succeed", "succeed"}, {NULL, NULL}};
static const Rule STEP_2[] = {
    {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"}, {"bli", "ble"},
    {"alli", "al"}, {"entli", "ent"}, {"eli", "e"}, {"ousli", "ous"}, {"ization", "ize"}, {"ation", "ate"},
    {"ator", "ate"}, {"alism", "al"}, {"iveness", "ive"}, {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},
    {"iviti", "ive"}, {"biliti", "ble"}, {"fulli", "ful"}, {NULL, NULL}};
static const Rule STEP_3[] = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
                              {"ical", "ic"},  {"ful", ""},   {"ness", ""},    {NULL, NULL}};
static const Rule STEP_4[] = {
    {"al", ""}, {"ance", ""}, {"ence", ""}, {"er", ""}, {"ic", ""}, {"able", ""}, {"ible", ""}, {"ant", ""},
    {"ement", ""}, {"ment", ""}, {"ent", ""}, {"ou", ""}, {"ism", ""}, {"ate", ""}, {"iti", ""}, {"ous", ""},
    {"ive", ""}, {"ize", ""}, {NULL, NULL}};

/* A word in work: its letters, and which of them are vowels as far as measure() last looked. */
typedef struct { uint8_t *letters; bool *vowel; int64_t size; } Word;

static bool ends(const Word *word, const char *suffix) {
    int64_t length = (int64_t)strlen(suffix);
    return word->size >= length && memcmp(word->letters + word->size - length, suffix, (size_t)length) == 0;
}

static int64_t measure(Word *word, int64_t size) {
    int64_t result = 0;
    for (int64_t i = 0; i < size; i++) {
        switch (word->letters[i]) {
            case 'a': case 'e': case 'i': case 'o': case 'u': word->vowel[i] = true; break;
            case 'y': word->vowel[i] = i > 0 && !word->vowel[i - 1]; break;
            default: word->vowel[i] = false;
        }
        result += i > 0 && word->vowel[i - 1] && !word->vowel[i];
    }
    return result;
}

static bool has_vowel(const Word *word, int64_t size) {
    return memchr(word->vowel, true, (size_t)size) != NULL;
}

/* Porter's *o; the vowels of the first `size` letters must be marked. */
static bool ends_short(const Word *word, int64_t size) {
    const bool *vowel = word->vowel + size;
    uint8_t last = word->letters[size - 1];
    if (size == 2) return vowel[-2] && !vowel[-1];
    return size > 2 && !vowel[-3] && vowel[-2] && !vowel[-1] && last != 'w' && last != 'x' && last != 'y';
}

static void apply(Word *word, const Rule *rules, int64_t min_measure) {
    for (const Rule *rule = rules; rule->suffix; rule++) {
        if (!ends(word, rule->suffix)) continue;
        int64_t rest = word->size - (int64_t)strlen(rule->suffix);
        if (measure(word, rest) < min_measure) return;
        memcpy(word->letters + rest, rule->replacement, strlen(rule->replacement));
        word->size = rest + (int64_t)strlen(rule->replacement);
        return;
    }
}

static void step_1b(Word *word) {
    if (ends(word, "ied")) { word->size -= word->size == 4 ? 1 : 2; return; }
    if (ends(word, "eed")) { word->size -= measure(word, word->size - 3) > 0; return; }
    int64_t rest = word->size - (ends(word, "ed") ? 2 : ends(word, "ing") ? 3 : 0);
    int64_t of_rest = measure(word, rest);
    if (rest == word->size || !has_vowel(word, rest)) return;
    word->size = rest;
    uint8_t last = word->letters[rest - 1];
    bool adds_e = ends(word, "at") || ends(word, "bl") || ends(word, "iz");
    if (!adds_e && rest >= 2 && last == word->letters[rest - 2] && !word->vowel[rest - 1]) {
        word->size -= last != 'l' && last != 's' && last != 'z';
        return;
    }
    if (adds_e || (of_rest == 1 && ends_short(word, rest))) word->letters[word->size++] = 'e';
}

static void step_1(Word *word) {
    if (ends(word, "ies")) word->size -= word->size == 4 ? 1 : 2;
    else if (ends(word, "sses")) word->size -= 2;
    else if (ends(word, "s") && !ends(word, "ss")) word->size -= 1;
    step_1b(word);
    if (word->size > 2 && ends(word, "y")) {
        measure(word, word->size);
        if (!word->vowel[word->size - 2]) word->letters[word->size - 1] = 'i';
    }
}

static void step_2(Word *word) {
    while (ends(word, "alli") && measure(word, word->size - 4) > 0) word->size -= 2;
    if (ends(word, "logi")) word->size -= measure(word, word->size - 3) > 0;
    else apply(word, STEP_2, 1);
}

static void step_4(Word *word) {
    if (!ends(word, "ion")) { apply(word, STEP_4, 2); return; }
    bool follows = ends(word, "sion") || ends(word, "tion");
    if (follows && measure(word, word->size - 3) > 1) word->size -= 3;
}

static void stem(Word *word) {
    for (const Rule *form = IRREGULAR; form->suffix; form++) {
        if (word->size == (int64_t)strlen(form->suffix) && ends(word, form->suffix)) {
            word->size = (int64_t)strlen(form->replacement);
            memcpy(word->letters, form->replacement, strlen(form->replacement));
            return;
        }
    }
    step_1(word);
    step_2(word);
    apply(word, STEP_3, 1);
    step_4(word);
    if (ends(word, "e")) {
        int64_t rest = word->size - 1, of_rest = measure(word, rest);
        if (of_rest > 1 || (of_rest == 1 && !ends_short(word, rest))) word->size = rest;
    }
    if (ends(word, "ll") && measure(word, word->size - 1) > 1) word->size -= 1;
}

/* ---- Words to numbers ---- */

typedef struct { const uint8_t *letters; uint64_t hash; int32_t size; } Entry;
typedef struct { Entry *entries; int32_t *slots; int64_t num, num_slots, room; } Words;

static const uint64_t FNV_OFFSET = 0xCBF29CE484222325u, FNV_PRIME = 0x100000001B3u; /* FNV-1a, 64 bit */

static bool grow(Words *words) {
    int64_t num_slots = words->num_slots ? words->num_slots * 4 : 1 << 13;
    int32_t *slots = malloc((size_t)num_slots * sizeof *slots);
    Entry *entries = realloc(words->entries, (size_t)(num_slots / 2) * sizeof *entries);
    if (entries) words->entries = entries;
    if (!slots || !entries) { free(slots); return false; }
    memset(slots, 0xFF, (size_t)num_slots * sizeof *slots);
    for (int64_t i = 0; i < words->num; i++) {
        uint64_t slot = (entries[i].hash >> 20) & (uint64_t)(num_slots - 1);
        while (slots[slot] >= 0) slot = (slot + 1) & (uint64_t)(num_slots - 1);
        slots[slot] = (int32_t)i;
    }
    free(words->slots);
    words->slots = slots, words->num_slots = num_slots, words->room = num_slots / 2;
    return true;
}

/* Return the number of a word, the next free one if it is new; NO_MEMORY if it cannot be kept. */
static int32_t number(Words *words, const uint8_t *letters, int64_t size, uint64_t hash) {
    if (words->num == words->room && !grow(words)) return NO_MEMORY;
    uint64_t mask = (uint64_t)(words->num_slots - 1), slot = (hash >> 20) & mask;
    for (; words->slots[slot] >= 0; slot = (slot + 1) & mask) {
        const Entry *entry = &words->entries[words->slots[slot]];
        if (entry->hash == hash && entry->size == size && memcmp(entry->letters, letters, (size_t)size) == 0)
            return words->slots[slot];
    }
    words->entries[words->num] = (Entry){letters, hash, (int32_t)size};
    return words->slots[slot] = (int32_t)words->num++;
}

/* Return for every word the number of its stem, or NULL without memory. Stems are written to `pool`. */
static int32_t *number_stems(const Words *words, Words *stems, uint8_t *pool, bool *vowel) {
    int32_t *numbers = malloc((size_t)(words->num + 1) * sizeof *numbers);
    for (int64_t i = 0; numbers && i < words->num; i++) {
        Word word = {pool, vowel, words->entries[i].size};
        memcpy(pool, words->entries[i].letters, (size_t)word.size);
        if (word.size >= MIN_STEMMED_LETTERS) stem(&word);
        uint64_t hash = FNV_OFFSET;
        for (int64_t k = 0; k < word.size; k++) hash = (hash ^ pool[k]) * FNV_PRIME;
        int64_t num_before = stems->num;
        numbers[i] = number(stems, pool, word.size, hash);
        if (numbers[i] < 0) { free(numbers); return NULL; }
        if (stems->num > num_before) pool += word.size;
    }
    return numbers;
}

static bool is_token_letter(uint8_t letter) {
    return (uint8_t)(letter - 'a') < 26 || (uint8_t)(letter - '0') < 10;
}

/* Cut the bytes into words; texts end with NUL. */
static bool cut(const uint8_t *text, int64_t size, Words *words, Tokens *tokens) {
    int64_t num_tokens = 0, num_texts = 0;
    bool is_new_line = true;
    tokens->starts[0] = 0;
    for (int64_t i = 0; i < size;) {
        int64_t start = i;
        uint64_t hash = FNV_OFFSET;
        for (; is_token_letter(text[i]); i++) hash = (hash ^ text[i]) * FNV_PRIME; /* the last byte is a NUL */
        if (i > start) {
            int32_t word = number(words, text + start, i - start, hash);
            if (word < 0) return false;
            tokens->numbers[num_tokens] = word, tokens->leads[num_tokens++] = is_new_line;
            is_new_line = false;
            continue;
        }
        if (text[i] == 0) tokens->starts[++num_texts] = num_tokens;
        is_new_line |= text[i] == '\n' || text[i] == 0;
        i++;
    }
    return true;
}

bool kilowit_tokenize(const uint8_t *text, int64_t size, int64_t num_texts, bool use_stemmer, Tokens *tokens) {
    Words words = {0}, stems = {0};
    bool done = cut(text, size, &words, tokens);
    tokens->num_numbers = words.num;
    if (done && use_stemmer) {
        uint8_t *pool = malloc((size_t)size + 1);
        bool *vowel = malloc((size_t)size + 1);
        int32_t *numbers = pool && vowel ? number_stems(&words, &stems, pool, vowel) : NULL;
        for (int64_t i = 0; numbers && i < tokens->starts[num_texts]; i++)
            tokens->numbers[i] = numbers[tokens->numbers[i]];
        done = numbers != NULL;
        free(pool), free(vowel), free(numbers);
    }
    free(words.entries), free(words.slots), free(stems.entries), free(stems.slots);
    return done;
}
