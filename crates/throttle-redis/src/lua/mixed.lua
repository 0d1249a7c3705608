    -- States of several algorithms under one key, while servers have different algorithms for the same rule.
    -- Each algorithm has its own state. A block applies to all of them.
    if tag % FREED_SLOTS ~= number then
      local function all_whole(...)
        for _, number in ipairs({ ... }) do
          if not is_whole(number) then
            return false
          end
        end
        return true
      end

      -- Returns the remaining lifetime of a state of another algorithm, by the rule that wrote it; nil if it is
      -- not a valid state.
      local function left_by_itself(state)
        local tag, size, ends, longest = state:byte(), #state - 1, 0, 0
        if tag == FIXED_WINDOW and size == 24 then
          local start, used, window = struct.unpack('>ddd', state, 2)
          if not (all_whole(start, used, window) and window <= 1000000000000000) then
            return nil
          end
          longest, ends = window, used > 0 and start + window or 0
        elseif tag == SLIDING_WINDOW_COUNTER and size == 32 then
          local start, prev, cur, window = struct.unpack('>dddd', state, 2)
          if not (all_whole(start, prev, cur, window) and window <= 1000000000000000) then
            return nil
          end
          longest = cur > 0 and 2 * window or window
          ends = (cur > 0 or prev > 0) and start + longest or 0
        elseif tag == SLIDING_WINDOW_LOG and size == 40 then
          local sum, newest, base, last, window = struct.unpack('>ddddd', state, 2)
          if not (all_whole(sum, newest, base, last, window) and window <= 1000000000000000) then
            return nil
          end
          longest, ends = window, sum > 0 and newest + window or 0
        elseif tag == TOKEN_BUCKET and size == 40 or tag == TOKEN_BUCKET + RECEIPT_OFFSET and size == 64
          or tag == TOKEN_BUCKET + FREED_SLOTS and size > 40 and size <= 552 and size % 32 == 8 then
          local tokens, part, at, window, rate = struct.unpack('>ddddd', state, 2)
          if not (all_whole(tokens, part, at, window, rate) and part < window and tokens <= 1000000000000000
            and tokens * window <= (rate > 1 and rate or 1) * 9007199254740992) then
            return nil
          end
          local hi, lo = product(tokens, window)
          local whole, over = quotient(hi, lo + part, rate > 1 and rate or 1)
          longest = over > 0 and whole + 1 or whole
          ends = now + longest - (at < now and now - at or 0)
        else
          return nil
        end
        local left = ends > now and ends - now or 0
        return left < longest and left or longest
      end

      local all = string.char(tag) .. value:sub(2, size + 1)
      all = tag == MIXED and all:sub(2) or struct.pack('>H', #all) .. all
      value = nil
      local index, seen = 1, {}
      repeat
        local last = index + 1
        if last < #all then
          last = last + struct.unpack('>H', all, index)
        end
        local state = all:sub(index + 2, last)
        local its_number, left = (state:byte() or 0) % FREED_SLOTS, 0
        if its_number == number then
          value = state
        else
          left = left_by_itself(state)
        end
        if not left or last > #all or seen[its_number] then
          return nil, i .. ': it is not a rate limit state'
        end
        seen[its_number] = true
        local is_log = state:byte() == SLIDING_WINDOW_LOG
        has_list = has_list or is_log
        if left > 0 then
          others = (others or '') .. all:sub(index, last)
          others_left = left > others_left and left or others_left
          others_list = others_list or is_log
        end
        index = last + 1
      until index > #all
      if value then
        tag, size = value:byte(), #value - 1
      end
    end

