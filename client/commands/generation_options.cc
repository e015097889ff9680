#include "client/commands/generation_options.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/sequence_input.h"
#include "core/base/status_macros.h"

namespace splineserve::client {
namespace {

constexpr uint32_t kMostSamples = 1000000;

v1::GenerateRequest BaseRequest(const GenerateFlags& flags) {
  v1::GenerateRequest request;
  *request.mutable_model() = flags.model.ToProto();
  if (flags.beam) {
    request.mutable_beam()->set_width(*flags.beam);
    request.mutable_beam()->set_num_hypotheses(flags.hypotheses.value_or(1));
    if (flags.length_penalty) request.mutable_beam()->set_length_penalty(*flags.length_penalty);
  } else if (flags.sample) {
    if (flags.temperature) request.mutable_sample()->set_temperature(*flags.temperature);
    request.mutable_sample()->set_top_k(flags.top_k.value_or(0));
    request.mutable_sample()->set_seed(flags.seed.value_or(0));
  }
  request.set_max_new_tokens(flags.max_new_tokens);
  for (int32_t id : flags.stop) request.add_stop_ids(id);
  return request;
}

}  // namespace

absl::Status GenerateFlags::Validate() const {
  if (!input.empty() && !sequences.empty()) {
    return absl::InvalidArgumentError("--input goes neither with --text nor with --tokens or --vectors");
  }
  if (beam && sample) return absl::InvalidArgumentError("choose one of --beam and --sample");
  if (!beam && (hypotheses || length_penalty)) {
    return absl::InvalidArgumentError(
        "--hypotheses and --length-penalty belong to beam search: add --beam N");
  }
  if (!sample && (temperature || top_k || seed || count)) {
    return absl::InvalidArgumentError(
        "--temperature, --top-k, --seed and --count belong to sampling: add --sample");
  }
  if (count && !input.empty())
    return absl::InvalidArgumentError("--count goes with one prompt, not with --input");
  if (stream && (!input.empty() || count.value_or(1) > 1 ||
                 sequences.texts.size() + sequences.tokens.size() + sequences.vectors.size() > 1)) {
    return absl::InvalidArgumentError(
        "--stream shows one generation: give one --text, without --input and --count");
  }
  if (stream && hypotheses.value_or(1) > 1) {
    return absl::InvalidArgumentError("--stream shows one hypothesis: leave --hypotheses out");
  }
  if (tsv && stream) return absl::InvalidArgumentError("choose one of --tsv and --stream");
  if (tsv && connection.json) return absl::InvalidArgumentError("choose one of --tsv and --json");
  if (tsv && (pieces.wanted() || monitor.wanted)) {
    return absl::InvalidArgumentError(
        "--tsv is a line for each input: --pieces and --monitor add others; --json has room for them");
  }
  v1::GenerateRequest ignored;
  SPLINESERVE_RETURN_IF_ERROR(monitor.Apply(ignored));
  return pieces.Apply(*ignored.mutable_pieces());
}

void AddGenerateFlags(CLI::App& command, GenerateFlags& flags) {
  AddModelFlag(command, flags.model, /*required=*/true);
  AddSequenceFlags(command, flags.sequences, "Source, or a decoder's prompt,");
  command
      .add_option("--input", flags.input,
                  "File (- for standard input) with a source or prompt a line; one result a line")
      ->type_name("FILE");
  command.add_option("--prompt", flags.prompt, "First tokens of an encoder-decoder's target, as text")
      ->type_name("TEXT");
  command.add_option("--concurrency", flags.concurrency, "Lines in flight at a time")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command.add_flag("--tsv", flags.tsv, "Print input<TAB>output");
  command.add_flag("--stream", flags.stream, "Print tokens as they come");
  command.add_option("--max-new-tokens", flags.max_new_tokens, "End a sequence after so many tokens")
      ->type_name("N");
  command.add_option("--stop", flags.stop, "Token ids that end a sequence, too, as in 3,4")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->type_name("ID,...");

  CLI::Option_group& search =
      *command.add_option_group("Search", "Without any of these, the most probable token each time");
  search.add_option("--beam", flags.beam, "Beam search that keeps N hypotheses")
      ->type_name("N")
      ->check(CLI::Range(1, 1 << 20));
  search.add_option("--hypotheses", flags.hypotheses, "Print the N best, with tabs between")->type_name("N");
  search
      .add_option("--length-penalty", flags.length_penalty,
                  "Rank by log-probability / length^X, 0 to 10 (default 1)")
      ->type_name("X");
  search.add_flag("--sample", flags.sample, "Draw tokens at random");
  search.add_option("--temperature", flags.temperature, "Divides the logits before drawing (default 1)")
      ->type_name("T");
  search.add_option("--top-k", flags.top_k, "Draw among the K most probable tokens")->type_name("K");
  search.add_option("--seed", flags.seed, "Same seed, same tokens (default 0)")->type_name("SEED");
  search.add_option("--count", flags.count, "So many samples, with seeds SEED, SEED + 1, ...")
      ->type_name("N")
      ->check(CLI::Range(uint32_t{1}, kMostSamples));
  AddPieceFlags(command, flags.pieces);
  AddMonitorFlags(command, flags.monitor);
  AddConnectionFlags(command, flags.connection);
}

absl::StatusOr<GenerationJobs> GenerationJobs::Read(const GenerateFlags& flags, const v1::ModelInfo& info,
                                                    std::istream& standard_input) {
  GenerationJobs jobs;
  jobs.base_ = BaseRequest(flags);
  if (flags.pieces.wanted()) {
    SPLINESERVE_RETURN_IF_ERROR(flags.pieces.Apply(*jobs.base_.mutable_pieces()));
  }
  SPLINESERVE_RETURN_IF_ERROR(flags.monitor.Apply(jobs.base_));
  jobs.has_source_ = info.architecture() == v1::ModelInfo::ENCODER_DECODER;
  jobs.takes_text_ = info.input().has_vocabulary();
  if (!flags.prompt.empty()) {
    if (!jobs.has_source_)
      return absl::InvalidArgumentError("--prompt is for encoder-decoders; here, --text is the prompt");
    jobs.base_.mutable_prompt()->set_text(flags.prompt);
  }
  if (!flags.input.empty()) {
    SPLINESERVE_ASSIGN_OR_RETURN(jobs.lines, InputLines::Open(flags.input, standard_input));
    return jobs;
  }
  SPLINESERVE_ASSIGN_OR_RETURN(std::vector<v1::Sequence> sequences, flags.sequences.Read(standard_input));
  if (sequences.empty()) {
    if (jobs.has_source_) {
      return absl::InvalidArgumentError(absl::StrCat(info.name(), " needs a source: give --text or --input"));
    }
    sequences.emplace_back();  // no prompt
  }
  std::vector<std::string> names;
  for (const v1::Sequence& sequence : sequences) {
    for (uint32_t i = 0; i < flags.count.value_or(1); ++i) {
      names.push_back(sequence.has_text()                                  ? sequence.text()
                      : sequence.form_case() == v1::Sequence::FORM_NOT_SET ? ""
                                                                           : Describe(sequence));
      jobs.sequences_.push_back(sequence);
      jobs.seed_offsets_.push_back(i);
    }
  }
  jobs.lines = InputLines::Of(std::move(names));
  return jobs;
}

absl::StatusOr<v1::GenerateRequest> GenerationJobs::Request(const InputLines::Line& line) const {
  v1::GenerateRequest request = base_;
  v1::Sequence sequence;
  if (!sequences_.empty()) {
    sequence = sequences_[line.index];
    if (request.has_sample())
      request.mutable_sample()->set_seed(base_.sample().seed() + seed_offsets_[line.index]);
  } else if (takes_text_) {
    if (has_source_ || !line.text.empty()) sequence.set_text(line.text);
  } else if (!line.text.empty()) {
    SPLINESERVE_ASSIGN_OR_RETURN(sequence, ParseTokens(line.text));
  }
  if (has_source_) {
    *request.mutable_source() = std::move(sequence);
  } else if (sequence.form_case() != v1::Sequence::FORM_NOT_SET) {
    *request.mutable_prompt() = std::move(sequence);
  }
  return request;
}

}  // namespace splineserve::client
