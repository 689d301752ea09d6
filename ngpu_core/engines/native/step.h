// What Python hands over: one training step (or forward pass) of one seed, as plain pointers.
// `native.py` declares the same structures for ctypes; keep them in step.
#pragma once

#include <cstdint>
#include <thread>
#include <vector>

// A batch padded to one length: B sequences of L columns.
struct Batch {
    int32_t sequences, columns, rows, group;  // rows of symbols; sequences a thread holds at a time
    const int64_t* inputs;                    // (B, rows, L) symbols
    const int64_t* targets;                   // (B, L) symbols; null without gradients
    const float* mask;                        // (B, L) 0 or 1
    const float* weights;                     // (B, L) of each position's cross-entropy in the loss
    const int32_t* steps;                     // (B) time steps of each sequence
    const uint32_t* rows_hashed;              // (times, B) hashes of the dropout masks; null: none
    uint32_t threshold;                       // of 2^31: elements hashed below are dropped
    float scale;                              // of the elements kept
    float saturation;                         // weight of a unit of saturation in the loss
    float* logits;                            // (B, L, classes) out
    double loss, excess;                      // out: Σ weights · cross-entropy; Σ saturation
};

// Parameters and gradients lie in the order in which the networks' `initialize` names them.
struct Step {
    int32_t maps, height, layers, copies, input_symbols, output_symbols;
    float gate_cutoff;
    int32_t segment;                 // time steps between kept states
    int32_t chunks, threads;         // parts of the batch with gradients of their own; threads
    int32_t batches, parameters;
    Batch* batch;
    const float* const* parameter;
    float* const* gradient;          // null: forward only
};

// What some sequences of a batch add to its sums.
struct Costs {
    double loss, excess;
};

// Run act(0) … act(count - 1) on some threads; each index on one thread, its result its own.
template <class Act>
void in_threads(int count, int threads, Act act) {
    if (threads <= 1 || count <= 1) {
        for (int index = 0; index < count; ++index) act(index);
        return;
    }
    const int workers = threads < count ? threads : count;
    std::vector<std::thread> running;
    for (int worker = 0; worker < workers; ++worker)
        running.emplace_back([=] {
            for (int index = worker; index < count; index += workers) act(index);
        });
    for (auto& thread : running) thread.join();
}
