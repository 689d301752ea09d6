// What Python hands over: one training step (or forward pass) of one seed, as plain pointers.
// `native.py` declares the same structures for ctypes; keep them in step.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

// What some sequences add to the sums of a batch.
struct Costs {
    double loss = 0, excess = 0;  // Σ weight · cross-entropy; Σ saturation
    int64_t wrong_sequences = 0, symbols = 0, wrong_symbols = 0;

    Costs& operator+=(const Costs& more) {
        loss += more.loss;
        excess += more.excess;
        wrong_sequences += more.wrong_sequences;
        symbols += more.symbols;
        wrong_symbols += more.wrong_symbols;
        return *this;
    }
};

// A batch padded to one length: B sequences of L columns.
struct Batch {
    int32_t sequences, columns, rows, group;  // rows of symbols; sequences a thread holds at a time
    const int64_t* inputs;                    // (B, rows, L) symbols, 0: pad
    const int64_t* targets;                   // (B, L) symbols, 0: pad
    const uint32_t* rows_hashed;              // (times, B) hashes of the dropout masks; null: none
    float* logits;                            // (B, L, classes) out
    uint32_t threshold;                       // of 2^31: elements hashed below are dropped
    float scale;                              // of the elements kept
    float weight;                             // of a position's cross-entropy in the loss
    float saturation;                         // of a unit of saturation in the loss
    Costs costs;                              // out

    // Whether a position holds anything: the mask.
    bool seen(int sequence, int position) const {
        if (targets[size_t(sequence) * columns + position] > 0) return true;
        for (int row = 0; row < rows; ++row)
            if (symbol(sequence, row, position) > 0) return true;
        return false;
    }
    int64_t symbol(int sequence, int row, int position) const {
        return inputs[(size_t(sequence) * rows + row) * columns + position];
    }
};

// Parameters and gradients lie in the order in which the networks' `initialize` names them.
struct Step {
    int32_t maps, height, layers, copies, input_symbols, output_symbols;
    int32_t extra_steps;             // beyond a sequence's length
    float gate_cutoff;
    int32_t segment;                 // time steps between kept states
    int32_t chunks, threads;         // parts of the batch with gradients of their own; threads
    int32_t batches, parameters;
    Batch* batch;
    const float* const* parameter;
    float* const* gradient;          // null: forward only
};

// Run act(0) … act(count - 1) on some threads; each index on one thread, its result its own.
template <class Act>
void in_threads(int count, int threads, Act act) {
    if (threads <= 1 || count <= 1) {
        for (int index = 0; index < count; ++index) act(index);
        return;
    }
    const int workers = threads < count ? threads : count;
    std::vector<std::exception_ptr> errors(workers);
    std::vector<std::thread> running;
    for (int worker = 0; worker < workers; ++worker)
        running.emplace_back([=, &errors] {
            try {
                for (int index = worker; index < count; index += workers) act(index);
            } catch (...) {
                errors[worker] = std::current_exception();
            }
        });
    for (auto& thread : running) thread.join();
    for (const auto& error : errors)
        if (error) std::rethrow_exception(error);
}
