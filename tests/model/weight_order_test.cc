// Every matrix knows which one is used after it, so that products fetch ahead across matrices.
#include <vector>

#include "core/format/model_directory.h"
#include "core/model/weights.h"
#include "gtest/gtest.h"
#include "tests/testing/model_builder.h"

namespace splineserve {
namespace {

constexpr char kTranslator[] = R"({"model_type": "spline_transformer", "architecture": "encoder_decoder",
"hidden_size": 100, "num_attention_heads": 2, "head_dim": 50, "intermediate_size": 200,
"num_encoder_layers": 2, "num_decoder_layers": 2, "input": {"kind": "tokens", "vocab_size": 50},
"target_input": {"kind": "tokens", "vocab_size": 30}, "head": {"kind": "linear", "size": 30}})";

constexpr char kEncoder[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
"hidden_size": 100, "num_attention_heads": 2, "head_dim": 50, "intermediate_size": 200,
"num_encoder_layers": 2, "input": {"kind": "tokens", "vocab_size": 50}, "head": {"kind": "linear", "size": 7}})";

constexpr char kSmall[] = R"({"model_type": "spline_transformer", "architecture": "encoder",
"hidden_size": 8, "num_attention_heads": 1, "head_dim": 8, "intermediate_size": 32,
"num_encoder_layers": 2, "input": {"kind": "tokens", "vocab_size": 50}})";

ModelWeights Pack(const char* config) {
  const testing::TempDir files = testing::WriteModel(config, {.seed = 5});
  return PackWeights(ModelDirectory::Open(files.path()).value()).value();
}

using Matrices = std::vector<const PackedMatrix*>;

Matrices InOrderOfUse(const StackWeights& stack) {
  Matrices matrices;
  for (const LayerWeights& layer : stack.layers) {
    const AttentionWeights& self = layer.self_attention;
    for (const AffineMap* map : {&self.key, &self.value, &self.query, &self.output}) {
      matrices.push_back(&map->weight);
    }
    if (layer.cross_attention.has_value()) {
      matrices.push_back(&layer.cross_attention->query.weight);
      matrices.push_back(&layer.cross_attention->output.weight);
    }
    matrices.push_back(&layer.feed_forward.up.weight);
    matrices.push_back(&layer.feed_forward.down.weight);
  }
  return matrices;
}

void ExpectRound(const Matrices& matrices) {
  for (size_t i = 0; i < matrices.size(); ++i) {
    const WeightStretch* const stretch = matrices[i]->view().stretch;
    ASSERT_NE(stretch, nullptr) << i;
    EXPECT_EQ(stretch->data, matrices[i]->data()) << i;
    EXPECT_EQ(stretch->bytes, matrices[i]->bytes()) << i;
    EXPECT_GE(stretch->lead, matrices[i]->panel_bytes()) << i;
    EXPECT_EQ(stretch->next, matrices[(i + 1) % matrices.size()]->view().stretch) << i;
  }
}

TEST(WeightOrderTest, MatricesGoRoundInTheOrderOfTheirUse) {
  ModelWeights weights = Pack(kTranslator);
  EXPECT_EQ(weights.decoder->layers[0].feed_forward.up.weight.view().stretch, nullptr) << "before";
  LinkMatrices(weights);
  ExpectRound(InOrderOfUse(*weights.encoder));
  Matrices decoder = InOrderOfUse(*weights.decoder);
  decoder.push_back(&weights.head->weight);
  ExpectRound(decoder);
  // Memories' keys and values are made once a source.
  EXPECT_EQ(weights.decoder->layers[0].cross_attention->key.weight.view().stretch, nullptr);
  EXPECT_EQ(weights.decoder->layers[0].cross_attention->value.weight.view().stretch, nullptr);

  // Offsets go on from matrix to matrix, and round.
  const WeightStretch& first = *decoder.front()->view().stretch;
  size_t offset = 0;
  for (const PackedMatrix* matrix : decoder) {
    EXPECT_EQ(first.At(offset), matrix->data());
    EXPECT_EQ(first.At(offset + matrix->bytes() - 1), matrix->data() + matrix->bytes() - 1);
    offset += matrix->bytes();
  }
  EXPECT_EQ(first.At(offset), first.data);
  EXPECT_EQ(first.At(2 * offset + 7), first.data + 7);

  // A part of a matrix does not know what is used next: its thread does not use all that lies between.
  const PackedView up = weights.encoder->layers[0].feed_forward.up.weight.view();
  ASSERT_GT(up.panels(), 1u);
  EXPECT_EQ(up.Panels(0, 1).stretch, nullptr);
  EXPECT_EQ(up.Panels(0, up.panels()).stretch, up.stretch);
  EXPECT_EQ(weights.encoder->layers[0].feed_forward.up.weight.view(up.inner - 1, up.outer).stretch, nullptr);
}

TEST(WeightOrderTest, AnEncodersHeadEndsItsRound) {
  ModelWeights weights = Pack(kEncoder);
  LinkMatrices(weights);
  Matrices encoder = InOrderOfUse(*weights.encoder);
  encoder.push_back(&weights.head->weight);
  ExpectRound(encoder);
}

TEST(WeightOrderTest, SmallModelsAreNotLinked) {
  ModelWeights weights = Pack(kSmall);
  LinkMatrices(weights);
  EXPECT_TRUE(weights.stretches.empty());
  EXPECT_EQ(weights.encoder->layers[0].feed_forward.up.weight.view().stretch, nullptr);
}

// Matrices in lower precision have given their exact weights back: they are passed over.
TEST(WeightOrderTest, LoweredMatricesAreLeftOut) {
  ModelWeights weights = Pack(kTranslator);
  LowerPrecision(Precision::kInt8, weights);
  LinkMatrices(weights);
  EXPECT_TRUE(weights.stretches.empty());
}

}  // namespace
}  // namespace splineserve
