#include "core/spline/compile/program_files.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/base/status_macros.h"
#include "core/format/safetensors_writer.h"
#include "nlohmann/json.hpp"

namespace splineserve {
namespace {

// What ParseModelConfig accepts.
constexpr size_t kMaxSize = size_t{1} << 24;

class TensorMaker {
 public:
  TensorMaker(const Program& program, DType dtype)
      : program_(program), dtype_(dtype), sizes_(program.sizes()) {}

  std::vector<NewTensor> Make() {
    const size_t d = sizes_.hidden_size, n = program_.inputs();
    NewTensor& projection = Add("encoder.input_proj.weight", {d, n});
    for (size_t i = 0; i < n; ++i) projection.values[i * n + i] = 1;
    Add("encoder.embed_positions.weight", {1, d}).values[program_.one()] = 1;
    for (size_t l = 0; l < sizes_.layers; ++l) {
      static const ProgramLayer kNothing;
      AddLayer(absl::StrCat("encoder.layers.", l, "."),
               l < program_.layers().size() ? program_.layers()[l] : kNothing);
    }
    std::vector<std::pair<size_t, const Form*>> rows;
    for (size_t o = 0; o < program_.outputs().size(); ++o) rows.push_back({o, &program_.outputs()[o]});
    AddMap("head", program_.outputs().size(), rows);
    return std::move(tensors_);
  }

 private:
  NewTensor& Add(const std::string& name, std::vector<size_t> shape) {
    size_t elements = 1;
    for (const size_t extent : shape) elements *= extent;
    return tensors_.emplace_back(NewTensor{name, std::move(shape), std::vector<double>(elements, 0.0)});
  }

  void AddLayer(const std::string& name, const ProgramLayer& layer) {
    const size_t d = sizes_.hidden_size, dim = sizes_.head_dim, width = sizes_.heads * dim;
    std::vector<std::pair<size_t, const Form*>> query, key, value, units;
    std::vector<size_t> place;  // of the layer's values, in the concatenated heads
    for (size_t h = 0; h < layer.heads.size(); ++h) {
      const ProgramHead& head = layer.heads[h];
      for (size_t i = 0; i < head.query.size(); ++i) query.push_back({h * dim + i, &head.query[i]});
      for (size_t i = 0; i < head.key.size(); ++i) key.push_back({h * dim + i, &head.key[i]});
      for (size_t i = 0; i < head.value.size(); ++i) {
        place.push_back(h * dim + i);
        value.push_back({place.back(), &head.value[i]});
      }
    }
    AddMap(name + "self_attn.q_proj", width, query);
    AddMap(name + "self_attn.k_proj", width, key);
    AddMap(name + "self_attn.v_proj", width, value);
    NewTensor& out = Add(name + "self_attn.o_proj.weight", {d, width});
    for (const auto& [column, form] : layer.attention) {
      for (const Form::Term& term : form.terms())
        out.values[column * width + place[term.index]] = term.weight;
    }
    for (size_t u = 0; u < layer.units.size(); ++u) units.push_back({u, &layer.units[u]});
    const size_t f = sizes_.intermediate_size;
    AddMap(name + "ffn.up_proj", f, units);
    NewTensor& down = Add(name + "ffn.down_proj.weight", {d, f});
    for (const auto& [column, form] : layer.feed_forward) {
      for (const Form::Term& term : form.terms()) down.values[column * f + term.index] = term.weight;
    }
  }

  // An affine map of the row with these forms as rows; no bias where all are zero.
  void AddMap(const std::string& name, size_t rows,
              const std::vector<std::pair<size_t, const Form*>>& forms) {
    const size_t d = sizes_.hidden_size;
    std::vector<double> bias(rows, 0.0);
    NewTensor& weight = Add(name + ".weight", {rows, d});
    for (const auto& [row, form] : forms) {
      bias[row] = form->constant();
      for (const Form::Term& term : form->terms()) weight.values[row * d + term.index] = term.weight;
      if (dtype_ == DType::kF32 && SplitsConstant(program_, *form)) {
        weight.values[row * d + program_.one()] += form->constant() - RoundedWeight(form->constant());
      }
    }
    if (std::any_of(bias.begin(), bias.end(), [](double value) { return value != 0; })) {
      tensors_.push_back({name + ".bias", {rows}, std::move(bias)});
    }
  }

  const Program& program_;
  const DType dtype_;
  const ProgramSizes sizes_;
  std::vector<NewTensor> tensors_;
};

std::string ConfigJson(const Program& program) {
  const ProgramSizes sizes = program.sizes();
  nlohmann::ordered_json config = {
      {"model_type", "spline_transformer"},
      {"architecture", "encoder"},
      {"hidden_size", sizes.hidden_size},
      {"num_attention_heads", sizes.heads},
      {"head_dim", sizes.head_dim},
      {"intermediate_size", sizes.intermediate_size},
      {"num_encoder_layers", sizes.layers},
      {"attention_activation", "relu"},
      {"attention_scale", 1},
      {"attention_normalizer", "none"},
      {"hidden_act", "relu"},
      {"norm", "none"},
      {"residual", true},
      {"input", {{"kind", "vectors"}, {"size", program.inputs()}}},
      {"positions", "learned"},
      {"max_positions", 1},
      {"head", {{"kind", "linear"}, {"size", program.outputs().size()}, {"pooling", "none"}}},
  };
  return config.dump(2) + "\n";
}

}  // namespace

absl::Status CheckProgramSize(const Program& program, DType dtype, size_t max_bytes) {
  const ProgramSizes sizes = program.sizes();
  const std::pair<const char*, size_t> limited[] = {{"hidden_size", sizes.hidden_size},
                                                    {"heads times head_dim", sizes.heads * sizes.head_dim},
                                                    {"intermediate_size", sizes.intermediate_size},
                                                    {"outputs", program.outputs().size()}};
  for (const auto& [name, size] : limited) {
    if (size > kMaxSize) {
      return absl::InvalidArgumentError(absl::StrCat("the encoder is too large: expected ", name,
                                                     " of at most ", kMaxSize, ", found ", size));
    }
  }
  if (sizes.parameters > max_bytes / SizeOf(dtype)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the encoder is too large: expected weights of at most ", max_bytes, " bytes, found ",
                     sizes.parameters, " numbers of ", SizeOf(dtype), " bytes (", sizes.layers,
                     " layers, hidden size ", sizes.hidden_size, ", ", sizes.heads, " heads of ",
                     sizes.head_dim, "): take fewer knots, or raise the limit"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::map<std::string, std::string>> ToModelFiles(const Program& program, DType dtype,
                                                                size_t max_bytes) {
  SPLINESERVE_RETURN_IF_ERROR(CheckProgramSize(program, dtype, max_bytes));
  std::map<std::string, std::string> files;
  files["config.json"] = ConfigJson(program);
  SPLINESERVE_ASSIGN_OR_RETURN(files["model.safetensors"],
                               SerializeSafetensors(TensorMaker(program, dtype).Make(), dtype));
  return files;
}

}  // namespace splineserve
