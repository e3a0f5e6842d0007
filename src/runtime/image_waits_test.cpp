// Requests that wait for images: a step's outcome is for the request whose images it encoded, not for another with the same ones.
#include "runtime/image_waits.h"

#include <gtest/gtest.h>

namespace xylem {
namespace {

NewRequest request(RequestId id) {
  NewRequest r;
  r.id = id;
  return r;
}

TEST(ImageWaits, AStepInFlightEndsOnlyTheRequestThatItWorkedFor) {
  const ImageList images{std::make_shared<const ImagePatches>()};
  ImageWaits waits;
  waits.push(request(1), images);
  const EncodeWork first = waits.next();
  EncodeWork second = first;  // two steps in flight
  ASSERT_EQ(waits.take_waiting_for(first)->id, 1u);
  waits.push(request(2), images);  // comes before the second step has ended
  EXPECT_FALSE(waits.take_waiting_for(second));
  second = waits.next();
  EXPECT_FALSE(waits.take_encoded(second));
  second.done = true;
  EXPECT_EQ(waits.take_encoded(second)->id, 2u);
  EXPECT_TRUE(waits.empty());
}

}  // namespace
}  // namespace xylem
