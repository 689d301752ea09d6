// Working memory that outlives a call, so that a step does not fault its pages in again.
#pragma once

#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "vectors.h"

// A stack of float arrays in one block, aligned to vectors. Taken from a list of free blocks.
class Memory {
   public:
    explicit Memory(size_t floats) {
        {
            std::lock_guard<std::mutex> lock(mutex());
            if (!free_blocks().empty()) {
                block_ = free_blocks().back();
                free_blocks().pop_back();
            }
        }
        if (block_.second >= floats) return;
        std::free(block_.first);
        block_ = {static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64)), floats};
        if (!block_.first) throw std::bad_alloc();
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() {
        std::lock_guard<std::mutex> lock(mutex());
        free_blocks().push_back(block_);
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
        for (auto& block : free_blocks()) std::free(block.first);
        free_blocks().clear();
    }

   private:
    using Block = std::pair<float*, size_t>;
    static std::mutex& mutex() {
        static std::mutex one;
        return one;
    }
    static std::vector<Block>& free_blocks() {
        static std::vector<Block> blocks;
        return blocks;
    }
    Block block_{nullptr, 0};
    size_t used_ = 0;
};
