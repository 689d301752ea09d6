// What the recurrences of both families share: what they keep for the way back, and their masks.
#pragma once

#include <memory>
#include <vector>

#include "head.h"
#include "memory.h"

// The arrays kept of `segment` time steps, and the states at the starts of the other segments.
//
// The forward pass runs segment after segment over the same arrays and leaves those of the last
// one; the backward pass goes through it, and computes each segment before it once more.
class Kept {
   public:
    // By layer of the segment's steps: its input (one more: its last output), gates, candidate.
    std::vector<float*> state, gates, candidate;

    Kept(const Row& row, int vectors, int times, int layers, int segment, bool training)
        : row_(row), vectors_(vectors), times_(times), layers_(layers), training_(training) {
        segment_ = training ? std::min(std::max(segment, 1), std::max(times, 1)) : 1;
    }

    // All arrays, and `more` with cells of `vectors` beside them.
    size_t floats(int more) const {
        const size_t one = Memory::rounded(row_.size(vectors_));
        return one * (4 * steps() + 1 + snapshots() + more) + 64;
    }

    void take(Memory& memory) {
        for (int index = 0; index <= steps(); ++index) state.push_back(array(memory, 1));
        for (int index = 0; index < steps(); ++index) {
            gates.push_back(array(memory, 2));
            candidate.push_back(array(memory, 1));
        }
        for (int index = 0; index < snapshots(); ++index)
            snapshot_.push_back(memory.take(row_.size(vectors_)));
    }

    // An array whose gaps are zero.
    float* array(Memory& memory, int multiple) const {
        float* place = memory.take(row_.size(multiple * vectors_));
        row_.clear_gaps(place, multiple * vectors_);
        return place;
    }

    // From state[0] on, forward(first time, end of times) for each segment; the last state.
    template <class Forward>
    const float* forward(Forward forward) {
        for (int index = 0; index < segments(); ++index) {
            const bool last = index + 1 == segments();
            if (training_ && !last) std::copy_n(state[0], row_.size(vectors_), snapshot_[index]);
            forward(index * segment_, end_of(index));
            if (!last) std::swap(state[0], state[steps()]);
        }
        return state[(times_ - std::max(0, segments() - 1) * segment_) * layers_];
    }

    // After `forward`: backward(first time, end of times) for each segment, the last one first.
    template <class Forward, class Backward>
    void backward(Forward forward, Backward backward) {
        for (int index = segments() - 1; index >= 0; --index) {
            if (index + 1 < segments()) {
                std::copy_n(snapshot_[index], row_.size(vectors_), state[0]);
                forward(index * segment_, end_of(index));
            }
            backward(index * segment_, end_of(index));
        }
    }

   private:
    int steps() const { return segment_ * layers_; }
    int segments() const { return (times_ + segment_ - 1) / segment_; }
    int snapshots() const { return training_ ? std::max(0, segments() - 1) : 0; }
    int end_of(int index) const { return std::min(times_, (index + 1) * segment_); }

    Row row_;
    int vectors_, times_, layers_, segment_;
    bool training_;
    std::vector<float*> snapshot_;
};

// The scaled dropout mask of one time, drawn from the hashes of its sequences.
template <int SEQUENCES>
class Mask {
   public:
    Mask(const Sequences<SEQUENCES>& sequences, int maps, int height, int time)
        : maps_(maps), height_(height) {
        const Batch& batch = sequences.batch;
        if (!batch.rows_hashed || !batch.threshold) return;
        threshold_ = batch.threshold;
        scale_ = batch.scale;
        for (int lane = 0; lane < LANES; ++lane) lane_map_[lane] = lane / SEQUENCES;
        for (int unit = 0; unit < sequences.units(); ++unit) {
            Words words{};
            for (int lane = 0; lane < LANES; ++lane) {
                const int sequence = sequences.in_lane(unit, lane % SEQUENCES);
                if (sequence >= 0)
                    words[lane] = batch.rows_hashed[size_t(time) * batch.sequences + sequence];
            }
            hashes_.push_back(words);
        }
    }

    bool drops() const { return threshold_ > 0; }

    // 0 or the scale for each lane of a vector of a cell; 1 where nothing is dropped.
    Vector operator()(int unit, int position, int height, int vector) const {
        if (!threshold_) return every(1.0f);
        const uint32_t element =
            uint32_t(position * height_ + height) * maps_ + vector * (LANES / SEQUENCES);
        const Words word = hashed(hashes_[unit], lane_map_ + element);
        return (word >> 1) < threshold_ ? every(0.0f) : every(scale_);
    }

   private:
    std::vector<Words> hashes_;
    Words lane_map_{};
    uint32_t threshold_ = 0;
    float scale_ = 1;
    int maps_, height_;
};

// A vector of 0 and 1 for each unit and position: whether its sequences hold anything there.
template <int SEQUENCES>
std::vector<Vector> seen_positions(const Sequences<SEQUENCES>& sequences) {
    std::vector<Vector> seen;
    for (int unit = 0; unit < sequences.units(); ++unit)
        for (int position = 0; position < sequences.batch.columns; ++position)
            seen.push_back(sequences.lanes(unit, [&](int sequence) {
                return sequences.batch.seen(sequence, position) ? 1.0f : 0.0f;
            }));
    return seen;
}
