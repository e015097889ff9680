#include "server/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace splineserve {
namespace {

using ::testing::HasSubstr;

ServerOptions Good(std::vector<std::string> arguments) {
  const auto parsed = ParseServerOptions(arguments, "");
  if (const auto* exit = std::get_if<EarlyExit>(&parsed)) {
    ADD_FAILURE() << exit->err;
    return {};
  }
  return std::get<ServerOptions>(parsed);
}

EarlyExit Exit(std::vector<std::string> arguments) {
  const auto parsed = ParseServerOptions(arguments, "");
  if (const auto* exit = std::get_if<EarlyExit>(&parsed)) return *exit;
  ADD_FAILURE() << "accepted";
  return {};
}

TEST(OptionsTest, DefaultsAreThoseOfTheManual) {
  const ServerOptions options = Good({"--model-repository", "/m"});
  EXPECT_EQ(options.model_repository, "/m");
  EXPECT_EQ(options.listen, "0.0.0.0:8001");
  EXPECT_EQ(options.metrics, "0.0.0.0:8002");
  EXPECT_EQ(options.engine.threads, 0u);
  EXPECT_EQ(options.engine.max_new_tokens, EngineOptions().max_new_tokens);
  EXPECT_EQ(options.max_message_bytes, size_t{64} << 20);
  EXPECT_EQ(options.drain_grace, absl::Seconds(30));
  EXPECT_EQ(options.stall_timeout, absl::Seconds(120));
  EXPECT_EQ(options.log_level, "info");
  EXPECT_EQ(options.log_format, "text");
}

TEST(OptionsTest, EveryOptionReachesItsField) {
  const ServerOptions o = Good({"--model-repository=/m",
                                "--listen=[::1]:0",
                                "--metrics=off",
                                "--threads=3",
                                "--drain-grace=1.5",
                                "--max-queue-requests=11",
                                "--max-queue-bytes=12MiB",
                                "--max-batch-tokens=13",
                                "--max-active-generations=14",
                                "--max-sequences-per-request=15",
                                "--max-tokens-per-sequence=16",
                                "--max-tokens-per-request=17",
                                "--max-new-tokens=18",
                                "--max-beam-width=19",
                                "--max-message-bytes=20k",
                                "--stall-timeout=2.5",
                                "--monitor=/a.monitor",
                                "--monitor",
                                "/b.monitor",
                                "--log-level=debug",
                                "--log-format=json"});
  EXPECT_EQ(o.listen, "[::1]:0");
  EXPECT_EQ(o.metrics, "");
  EXPECT_EQ(o.engine.threads, 3u);
  EXPECT_EQ(o.drain_grace, absl::Milliseconds(1500));
  EXPECT_EQ(o.stall_timeout, absl::Milliseconds(2500));
  EXPECT_EQ(o.engine.max_queue_requests, 11u);
  EXPECT_EQ(o.engine.max_queue_bytes, size_t{12} << 20);
  EXPECT_EQ(o.engine.max_batch_tokens, 13u);
  EXPECT_EQ(o.engine.max_active_generations, 14u);
  EXPECT_EQ(o.engine.max_sequences_per_request, 15u);
  EXPECT_EQ(o.engine.max_tokens_per_sequence, 16u);
  EXPECT_EQ(o.engine.max_tokens_per_request, 17u);
  EXPECT_EQ(o.engine.max_new_tokens, 18u);
  EXPECT_EQ(o.engine.max_beam_width, 19u);
  EXPECT_EQ(o.max_message_bytes, size_t{20} << 10);
  EXPECT_EQ(o.log_level, "debug");
  EXPECT_EQ(o.log_format, "json");
  EXPECT_THAT(o.monitors, ::testing::ElementsAre("/a.monitor", "/b.monitor"));
}

TEST(OptionsTest, HelpAndVersionExitWithZeroAndBadUsageWithTwo) {
  const EarlyExit help = Exit({"--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.out, HasSubstr("Examples:"));
  EXPECT_THAT(help.out, HasSubstr("SPLINESERVE_TARGET"));
  EXPECT_THAT(help.out, HasSubstr("--precision bfloat16,digits=float32"));
  EXPECT_THAT(help.out, HasSubstr("--smoothing digits=20,digits=1000"));
  EXPECT_EQ(Exit({"--version"}).status, 0);

  EXPECT_THAT(Exit({}).err, HasSubstr("--model-repository is required"));
  const std::vector<std::vector<std::string>> bad = {{},
                                                     {"--bogus"},
                                                     {"--model-repository"},
                                                     {"stray"},
                                                     {"--model-repository=/m", "--listen=8001"},
                                                     {"--model-repository=/m", "--listen=host:"},
                                                     {"--model-repository=/m", "--listen=host:65536"},
                                                     {"--model-repository=/m", "--listen=::1:80"},
                                                     {"--model-repository=/m", "--metrics=nowhere"},
                                                     {"--model-repository=/m", "--threads=-1"},
                                                     {"--model-repository=/m", "--drain-grace=-1"},
                                                     {"--model-repository=/m", "--log-level=loud"},
                                                     {"--model-repository=/m", "--log-format=xml"},
                                                     {"--model-repository=/m", "--max-message-bytes=0"},
                                                     {"--model-repository=/m", "--max-message-bytes=3GiB"},
                                                     {"--model-repository=/m", "--max-batch-tokens=0"},
                                                     {"--check-health=nowhere"}};
  for (const auto& arguments : bad) {
    const EarlyExit exit = Exit(arguments);
    EXPECT_EQ(exit.status, 2) << (arguments.empty() ? "" : arguments.back());
    EXPECT_FALSE(exit.err.empty());
    EXPECT_TRUE(exit.out.empty());
  }
}

TEST(OptionsTest, PrecisionIsChosenForAllModelsAndForOne) {
  const auto precision = [](std::vector<std::string> arguments) {
    arguments.push_back("--model-repository=/m");
    return Good(std::move(arguments)).precision;
  };
  EXPECT_EQ(precision({}).ToString(), "float32");
  EXPECT_EQ(precision({}).Of("g2p"), Precision::kFloat32);
  EXPECT_EQ(precision({"--precision", "int8"}).Of("g2p"), Precision::kInt8);
  // In any order, repeated or with commas, as one word or two.
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"--precision=bfloat16,g2p=int8,digits=float32"},
           {"--precision", "g2p=int8,bfloat16", "--precision", "digits=float32"},
           {"--precision=digits=float32", "--precision=g2p=int8", "--precision=bfloat16"}}) {
    const PrecisionChoice choice = precision(arguments);
    EXPECT_EQ(choice.Of("g2p"), Precision::kInt8);
    EXPECT_EQ(choice.Of("digits"), Precision::kFloat32);
    EXPECT_EQ(choice.Of("words"), Precision::kBfloat16);
    EXPECT_EQ(choice.ToString(), "bfloat16,digits=float32,g2p=int8");
  }
  EXPECT_EQ(precision({"--precision=a=b=int8"}).Of("a=b"), Precision::kInt8)
      << "a folder's name may have one";
  EXPECT_THAT(DescribeOptions(Good({"--model-repository=/m", "--precision=g2p=int8"})),
              ::testing::Contains(std::pair<std::string, std::string>("precision", "float32,g2p=int8")));
}

TEST(OptionsTest, WrongPrecisionsAreRefusedByName) {
  const auto refused = [](const std::string& choices) {
    const EarlyExit exit = Exit({"--model-repository=/m", "--precision=" + choices});
    EXPECT_EQ(exit.status, 2);
    return exit.err;
  };
  for (const char* unknown : {"int4", "g2p=int4", "g2p=", "int8,g2p=fp16"}) {
    EXPECT_THAT(refused(unknown), HasSubstr("--precision")) << unknown;
    EXPECT_THAT(refused(unknown), HasSubstr("float32, bfloat16 or int8")) << unknown;
  }
  EXPECT_THAT(refused("bfloat16,g2p=int4"), HasSubstr("\"g2p=int4\""));
  EXPECT_THAT(refused("=int8"), HasSubstr("found no model"));
  EXPECT_THAT(refused("int8,bfloat16"), HasSubstr("for all models is already chosen"));
  EXPECT_THAT(refused("g2p=int8,g2p=int8"), HasSubstr("for this model is already chosen"));
  // The word after it is not one more choice.
  EXPECT_EQ(Exit({"--model-repository=/m", "--precision", "int8", "stray"}).status, 2);
}

TEST(OptionsTest, SmoothingsAreChosenForAllModelsAndForOne) {
  const auto smoothing = [](std::vector<std::string> arguments) {
    arguments.push_back("--model-repository=/m");
    return Good(std::move(arguments)).smoothing;
  };
  EXPECT_EQ(smoothing({}).ToString(), "none");
  EXPECT_FALSE(smoothing({}).for_all());
  EXPECT_THAT(smoothing({}).Of("digits"), ::testing::IsEmpty());
  for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
           {"--smoothing=100,0.5,digits=1000,digits=20"},
           {"--smoothing", "digits=2e1,1e2", "--smoothing", "5e-1,digits=1000"}}) {
    const SmoothingChoice choice = smoothing(arguments);
    EXPECT_THAT(choice.Of("digits"), ::testing::ElementsAre(20, 1000));
    EXPECT_THAT(choice.Of("words"), ::testing::ElementsAre(0.5f, 100));
    EXPECT_TRUE(choice.Named("digits"));
    EXPECT_FALSE(choice.Named("words"));
    EXPECT_TRUE(choice.for_all());
    EXPECT_EQ(choice.ToString(), "0.5,100,digits=20,digits=1000");
  }
  EXPECT_THAT(smoothing({"--smoothing=a=b=3"}).Of("a=b"), ::testing::ElementsAre(3))
      << "a folder's name may have one";
  EXPECT_THAT(DescribeOptions(Good({"--model-repository=/m", "--smoothing=g2p=3"})),
              ::testing::Contains(std::pair<std::string, std::string>("smoothing", "g2p=3")));
  EXPECT_EQ(SmoothedName("digits", 20), "digits@softplus20");
  EXPECT_EQ(SmoothedName("digits", 0.1f), "digits@softplus0.1");
}

TEST(OptionsTest, WrongSmoothingsAreRefusedByName) {
  const auto refused = [](const std::string& choices) {
    const EarlyExit exit = Exit({"--model-repository=/m", "--smoothing=" + choices});
    EXPECT_EQ(exit.status, 2);
    return exit.err;
  };
  for (const char* wrong :
       {"0", "-1", "inf", "nan", "1e39", "1e-60", "soft", "g2p=0", "g2p=", "g2p=x", "20,g2p=-3"}) {
    EXPECT_THAT(refused(wrong), HasSubstr("--smoothing \"")) << wrong;
    EXPECT_THAT(refused(wrong), HasSubstr("a finite number above 0 in float32, found \"")) << wrong;
  }
  EXPECT_THAT(refused("20,g2p=-3"), HasSubstr("\"g2p=-3\""));
  EXPECT_THAT(refused("=20"), HasSubstr("expected MODEL=BETA, found no model"));
  EXPECT_THAT(refused("20,2e1"), HasSubstr("beta 20 for all models is already chosen"));
  EXPECT_THAT(refused("g2p=20,g2p=20.0"), HasSubstr("beta 20 for this model is already chosen"));
  EXPECT_EQ(Exit({"--model-repository=/m", "--smoothing"}).status, 2);
  // The word after it is not one more choice.
  EXPECT_EQ(Exit({"--model-repository=/m", "--smoothing", "20", "30"}).status, 2);
}

TEST(OptionsTest, CheckHealthNeedsNoModels) {
  EXPECT_EQ(Good({"--check-health=127.0.0.1:8001"}).check_health, "127.0.0.1:8001");
}

TEST(OptionsTest, DescriptionShowsEveryOption) {
  const auto described = DescribeOptions(Good({"--model-repository=/m", "--metrics=off"}));
  EXPECT_THAT(described, ::testing::Contains(std::pair<std::string, std::string>("metrics", "off")));
  EXPECT_EQ(described.size(), 23u);
}

}  // namespace
}  // namespace splineserve
