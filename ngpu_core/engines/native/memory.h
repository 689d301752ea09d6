// Working memory that outlives a call, so that a step does not fault its pages in again.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "vectors.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

constexpr size_t LARGE_PAGE = size_t(1) << 21;

// What a block is for. Each has free blocks of its own: a small need would occupy a large one.
enum class Use { weights, gradients, run };

// A stack of float arrays in one block, aligned to vectors. Taken from a list of free blocks.
class Memory {
   public:
    Memory(Use use, size_t floats) : use_(use) {
        {
            // The smallest block that holds it, else the largest, which grows.
            std::lock_guard<std::mutex> lock(mutex());
            auto& blocks = free_blocks(use);
            const auto found = std::min_element(
                blocks.begin(), blocks.end(), [&](const Block& one, const Block& other) {
                    const bool fits = one.second >= floats, other_fits = other.second >= floats;
                    if (fits != other_fits) return fits;
                    return fits ? one.second < other.second : one.second > other.second;
                });
            if (found != blocks.end()) {
                block_ = *found;
                blocks.erase(found);
            }
        }
        if (block_.second >= floats) return;
        std::free(block_.first);
        // In large pages where there are some: a step walks over all of a block again and again.
        const size_t page = floats * 4 < 2 * LARGE_PAGE ? 64 : LARGE_PAGE;
        const size_t bytes = (floats * 4 + page - 1) / page * page;
        block_ = {static_cast<float*>(std::aligned_alloc(page, bytes)), bytes / 4};
        if (!block_.first) throw std::bad_alloc();
#if defined(__linux__)
        if (page == LARGE_PAGE) madvise(block_.first, bytes, MADV_HUGEPAGE);
#endif
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() {
        std::lock_guard<std::mutex> lock(mutex());
        free_blocks(use_).push_back(block_);
    }

    // The next array; its values are whatever was there.
    float* take(size_t floats) {
        float* place = block_.first + used_;
        used_ += rounded(floats);
        return place;
    }
    float* next() const { return block_.first + used_; }
    static size_t rounded(size_t floats) { return (floats + 15) / 16 * 16; }

    static void release() {
        std::lock_guard<std::mutex> lock(mutex());
        for (Use use : {Use::weights, Use::gradients, Use::run}) {
            for (auto& block : free_blocks(use)) std::free(block.first);
            free_blocks(use).clear();
        }
    }

   private:
    using Block = std::pair<float*, size_t>;
    static std::mutex& mutex() {
        static std::mutex one;
        return one;
    }
    static std::vector<Block>& free_blocks(Use use) {
        static std::vector<Block> blocks[3];
        return blocks[int(use)];
    }
    Use use_;
    Block block_{nullptr, 0};
    size_t used_ = 0;
};
